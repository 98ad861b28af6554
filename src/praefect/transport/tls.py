"""TLS as both sides use it: at least 1.2, ALPN offers ``h2`` and nobody insists.

Source: the Praefect wire reference, section 1.3.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field

_ALPN = ["h2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """What a listener presents.

    Attributes:
        certificate_path: PEM file with the certificate and its chain.
        key_path: PEM file with the private key; empty if ``key`` is given.
        key: the private key itself, as PEM text.
        minimum_version: the lowest version accepted.
    """

    certificate_path: str
    key_path: str = ""
    key: str = field(default="", repr=False)
    minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2

    def context(self) -> ssl.SSLContext:
        """Read the files and return what a listener needs.

        Raises:
            OSError: a file cannot be read, or holds no certificate or key (``ssl.SSLError``).
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self.minimum_version
        context.set_alpn_protocols(_ALPN)
        if self.key:
            self._load_inline(context)
        else:
            context.load_cert_chain(self.certificate_path, self.key_path)
        return context

    def _load_inline(self, context: ssl.SSLContext) -> None:
        # The library reads keys from files only; this one never touches a disk.
        descriptor = os.memfd_create("key")
        try:
            os.write(descriptor, self.key.encode())
            context.load_cert_chain(self.certificate_path, f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """Whom the dialling side trusts.

    Attributes:
        ca_file: PEM file of the authorities to trust instead of the system's pool (which ``SSL_CERT_FILE`` and
            ``SSL_CERT_DIR`` replace).
        server_name: the name the certificate must carry, if not the host of the address.
    """

    ca_file: str | None = None
    server_name: str | None = None

    def context(self) -> ssl.SSLContext:
        """Read the files and return what a connection needs.

        Raises:
            OSError: a file cannot be read, or holds no certificate (``ssl.SSLError``).
        """
        context = ssl.create_default_context(cafile=self.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.hostname_checks_common_name = False
        context.set_alpn_protocols(_ALPN)
        return context
