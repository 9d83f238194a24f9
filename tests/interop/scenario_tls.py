"""The certificate that phones see, judged by a client that verifies: OpenSSL's s_client."""


def tls_check(host, server, name, ca, port=5061):
    """One line of what was found; SystemExit if the certificate is not good for `name` under `ca`."""
    done = host.run(["openssl", "s_client", "-connect", f"{server}:{port}", "-servername", name, "-verify_hostname", name,
                     "-CAfile", ca, "-verify_return_error", "-brief"], check=False, input="", timeout=10)
    text = done.stdout + done.stderr
    if "Verification: OK" not in text:
        raise SystemExit(f"TLS to {server}:{port} as {name}: {text}")
    version = next((line for line in text.split("\n") if "Protocol version" in line), "")
    return f"{server}:{port} as {name}: verification OK, {version.strip()}"
