"""A certificate for brokers of the tests, and clients that trust it."""

import os
import ssl
import subprocess
import tempfile


class Certificate:
    """Files with a certificate for 127.0.0.1 and its key."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        self.cert_file = os.path.join(self._folder.name, "cert.pem")
        self.key_file = os.path.join(self._folder.name, "key.pem")
        request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 7"
        names = ["-subj", "/CN=fanwire", "-addext", "subjectAltName=IP:127.0.0.1"]
        files = ["-keyout", self.key_file, "-out", self.cert_file]
        subprocess.run([*request.split(), *names, *files], check=True, stderr=subprocess.DEVNULL)

    def section(self):
        """What the broker is told."""
        return {"server.tls": {"cert_file": self.cert_file, "key_file": self.key_file}}

    def context(self):
        """For clients."""
        return ssl.create_default_context(cafile=self.cert_file)
