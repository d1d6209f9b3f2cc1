//! What a TLS client of these tests may stand on instead of a bare socket.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::APPLICATION_DATA;

/// Sends every byte by itself.
pub(crate) struct Dripping(pub(crate) TcpStream);

impl Read for Dripping {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Dripping {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Counts the records of application data that come.
pub(crate) struct Counting {
    stream: TcpStream,
    pub(crate) records: usize,
    head: Vec<u8>,
    body_left: usize,
}

impl Counting {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, records: 0, head: Vec::new(), body_left: 0 }
    }
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.stream.read(buffer)?;
        for &byte in &buffer[..count] {
            if self.body_left > 0 {
                self.body_left -= 1;
                continue;
            }
            self.head.push(byte);
            if let &[kind, _, _, high, low] = &self.head[..] {
                self.records += usize::from(kind == APPLICATION_DATA);
                self.body_left = usize::from(u16::from_be_bytes([high, low]));
                self.head.clear();
            }
        }
        Ok(count)
    }
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
