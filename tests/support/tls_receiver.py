"""A receiver of webhooks that speaks TLS, with a certificate of an authority of its own.

    python tls_receiver.py DIRECTORY

It writes the authority's certificate to DIRECTORY/ca.pem, prints its port, and then each body that is posted, a line each.
"""
import datetime
import ipaddress
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DIRECTORY = Path(sys.argv[1])


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(subject, key, issuer, issuer_key, extension):
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)
    return builder.add_extension(extension, critical=False).sign(issuer_key, hashes.SHA256())


def write(path, *parts):
    path.write_bytes(b"".join(parts))


def pem(cert):
    return cert.public_bytes(serialization.Encoding.PEM)


ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
ca, own = name("test authority"), name("receiver")
write(DIRECTORY / "ca.pem", pem(certificate(ca, ca_key, ca, ca_key, x509.BasicConstraints(ca=True, path_length=None))))
names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
plain = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
write(DIRECTORY / "receiver.pem", plain, pem(certificate(own, key, ca, ca_key, names)))


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        print(body.decode(), flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(DIRECTORY / "receiver.pem")
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
