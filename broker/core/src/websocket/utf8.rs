//! UTF-8 that comes in pieces: what is wrong is noticed at its first wrong byte, not at the end of
//! the message (RFC 6455, section 8.1).

/// A text that is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// Longest character, in bytes.
const CHARACTER_BYTES_MAX: usize = 4;

/// What is kept of a text between two pieces: the beginning of a character.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8 {
    begun: [u8; CHARACTER_BYTES_MAX],
    count: usize,
}

impl Utf8 {
    /// Takes the next piece of the text.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Invalid> {
        let rest = self.complete(piece)?;
        match std::str::from_utf8(rest) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(Invalid),
            Err(error) => {
                let tail = rest.get(error.valid_up_to()..).unwrap_or_default();
                for (to, from) in self.begun.iter_mut().zip(tail) {
                    *to = *from;
                }
                self.count = tail.len();
                Ok(())
            }
        }
    }

    /// The text is over.
    pub(super) fn end(self) -> Result<(), Invalid> {
        if self.count == 0 { Ok(()) } else { Err(Invalid) }
    }

    /// Completes the character that has begun; what follows it.
    fn complete<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], Invalid> {
        let mut rest = piece;
        while self.count > 0
            && let Some((&byte, after)) = rest.split_first()
        {
            let Some(free) = self.begun.get_mut(self.count) else { return Err(Invalid) };
            *free = byte;
            self.count += 1;
            rest = after;
            match std::str::from_utf8(self.begun.get(..self.count).unwrap_or_default()) {
                Ok(_) => self.count = 0,
                Err(error) if error.error_len().is_some() => return Err(Invalid),
                Err(_) => {}
            }
        }
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes are taken before the text is refused, one by one; `None`: it is right.
    fn refused_at(text: &[u8]) -> Option<usize> {
        let mut utf8 = Utf8::default();
        let at = text.iter().position(|byte| utf8.push(&[*byte]).is_err());
        at.or_else(|| utf8.end().is_err().then_some(text.len()))
    }

    #[test]
    fn pieces_are_judged_as_the_whole_is() {
        let texts: [&[u8]; 11] = [
            b"",
            b"plain",
            "\u{e4}\u{20ac}\u{1f980} and \u{10ffff}".as_bytes(),
            b"a\xc0\xaf",
            b"a\xed\xa0\x80",
            b"a\xf4\x90\x80\x80",
            b"a\xe2\x82",
            b"\xe2\x82(",
            b"\xf0\x9f\xa6\x80\x80",
            b"\xff",
            b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x8f\xbf\xbf",
        ];
        for text in texts {
            let valid = std::str::from_utf8(text).is_ok();
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let mut utf8 = Utf8::default();
                    let pieces = [&text[..first], &text[first..second], &text[second..]];
                    let taken = pieces.iter().try_for_each(|piece| utf8.push(piece));
                    assert_eq!(taken.and_then(|()| utf8.end()).is_ok(), valid, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn a_text_is_refused_at_its_first_wrong_byte() {
        assert_eq!(refused_at("\u{1f980}".as_bytes()), None);
        // Too large, a surrogate, overlong: the second byte says so.
        assert_eq!(refused_at(b"ab\xf4\x90\x80\x80"), Some(3));
        assert_eq!(refused_at(b"ab\xed\xa0\x80"), Some(3));
        assert_eq!(refused_at(b"ab\xe0\x80\x80"), Some(3));
        // Bytes that occur nowhere.
        assert_eq!(refused_at(b"ab\xf5"), Some(2));
        assert_eq!(refused_at(b"\xc0"), Some(0));
        // Cut off by what follows, or by the end.
        assert_eq!(refused_at(b"\xf0\x9f\xa6a"), Some(3));
        assert_eq!(refused_at(b"\xf0\x9f\xa6"), Some(3));
    }
}
