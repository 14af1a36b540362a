"""A test CA and certificates from it, made with the openssl command line (EC P-256, so that making one is quick)."""
import os
import subprocess


class TestCa:
    """Owns a folder with ca.pem, and <name>.pem / <name>.key for every certificate asked for."""

    __test__ = False  # not a pytest class

    def __init__(self, folder, common_name="keyfs test CA"):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.ca_file = os.path.join(self.folder, "ca.pem")
        self._ca_key = os.path.join(self.folder, "ca.key")
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                      "-subj", f"/CN={common_name}", "-addext", "basicConstraints=critical,CA:TRUE",
                      "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", self._ca_key, "-out", self.ca_file)

    def server(self, name, hosts=("localhost", "127.0.0.1"), days=30):
        """A certificate for servers (and clients: etcd members are both). days < 0 makes an expired one."""
        return self._leaf(name, name, hosts, "serverAuth,clientAuth", days)

    def client(self, name, common_name=None, organisation="keyfs test"):
        """A client certificate, without a common name unless one is given: etcd's JSON gateway answers 400 to a certificate that
        has one as soon as auth is on (it could be mistaken for the user's name)."""
        return self._leaf(name, common_name, (), "clientAuth", 30, organisation)

    def _leaf(self, name, common_name, hosts, usage, days, organisation=None):
        cert, key, csr, ext = (os.path.join(self.folder, f"{name}.{e}") for e in ("pem", "key", "csr", "ext"))
        subject = (f"/CN={common_name}" if common_name else "") + (f"/O={organisation}" if organisation else "")
        self._openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                      "-subj", subject, "-keyout", key, "-out", csr)
        names = ",".join(("IP:" if h.replace(".", "").isdigit() or ":" in h else "DNS:") + h for h in hosts)
        with open(ext, "w") as f:
            f.write(f"basicConstraints=CA:FALSE\nextendedKeyUsage={usage}\n")
            if names:
                f.write(f"subjectAltName={names}\n")
        sign = ["-in", csr, "-extfile", ext, "-out", cert]
        if days >= 0:
            self._openssl("x509", "-req", "-CA", self.ca_file, "-CAkey", self._ca_key, "-CAcreateserial",
                          "-days", str(days), *sign)
        else:
            self._sign_expired(csr, ext, cert)
        os.chmod(key, 0o644)  # test keys: daemons and children of several users read them
        return cert, key

    def _sign_expired(self, csr, ext, cert):
        """`openssl x509` of version 3.0 can't set dates in the past; `openssl ca` can."""
        db = os.path.join(self.folder, "expired-db")
        os.makedirs(db, exist_ok=True)
        open(os.path.join(db, "index.txt"), "w").close()
        config = os.path.join(db, "ca.cnf")
        with open(config, "w") as f:
            f.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={db}/index.txt\nnew_certs_dir={db}\nrand_serial=yes\n"
                    "default_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\norganizationName=optional\n")
        self._openssl("ca", "-batch", "-config", config, "-cert", self.ca_file, "-keyfile", self._ca_key,
                      "-startdate", "20200101000000Z", "-enddate", "20200201000000Z",
                      "-in", csr, "-extfile", ext, "-out", cert, "-notext")

    @staticmethod
    def _openssl(*args):
        done = subprocess.run(["openssl", *args], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"openssl {args[0]}: {done.stderr}")
