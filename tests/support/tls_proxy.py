"""Speaks TLS in front of a port of this machine, with a certificate of an authority of its own.

    python tls_proxy.py DIRECTORY PORT [good|expired|misnamed]

It writes the authority's certificate to DIRECTORY/ca.pem, and prints the port at which it listens. A good certificate is that of localhost and
127.0.0.1; one that expired did so a day ago; a misnamed one is that of another host.
"""
import asyncio
import datetime
import ipaddress
import ssl
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DIRECTORY, PORT = Path(sys.argv[1]), int(sys.argv[2])
KIND = sys.argv[3] if len(sys.argv) > 3 else "good"
DAY = datetime.timedelta(days=1)


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(subject, key, issuer, issuer_key, extension, until=DAY):
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - 9 * DAY).not_valid_after(now + until)
    return builder.add_extension(extension, critical=False).sign(issuer_key, hashes.SHA256())


def pem(cert):
    return cert.public_bytes(serialization.Encoding.PEM)


def context():
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca, own = name("test authority"), name("proxy")
    authority = certificate(ca, ca_key, ca, ca_key, x509.BasicConstraints(ca=True, path_length=None))
    here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    names = x509.SubjectAlternativeName([x509.DNSName("elsewhere.example")] if KIND == "misnamed" else here)
    cert = certificate(own, key, ca, ca_key, names, -DAY if KIND == "expired" else DAY)
    plain = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (DIRECTORY / "ca.pem").write_bytes(pem(authority))
    (DIRECTORY / "proxy.pem").write_bytes(plain + pem(cert))
    speaks = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    speaks.load_cert_chain(DIRECTORY / "proxy.pem")
    return speaks


async def pass_on(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(reader, writer):
    to_reader, to_writer = await asyncio.open_connection("127.0.0.1", PORT)
    await asyncio.gather(pass_on(reader, to_writer), pass_on(to_reader, writer))


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context())
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
