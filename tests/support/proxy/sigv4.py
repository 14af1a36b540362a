"""Checks AWS Signature Version 4 of a request that came in, as AWS would, and answers with AWS's own errors.

Source: docs.aws.amazon.com, IAM user guide, "Create a signed AWS API request". Moto checks none of this. The proxy does it
with the secrets it is told: {access key id: {"secret": S, "token": T or absent, "error": an AWS error type to answer}}."""
import datetime
import hashlib
import hmac
import re
from urllib.parse import quote, unquote

_AUTH = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$")
MAX_SKEW = datetime.timedelta(minutes=5)


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature(secret, date, region, service, amz_date, canonical):
    key = _hmac(_hmac(_hmac(_hmac(b"AWS4" + secret.encode(), date), region), service), "aws4_request")
    text = "\n".join(["AWS4-HMAC-SHA256", amz_date, f"{date}/{region}/{service}/aws4_request",
                      hashlib.sha256(canonical.encode()).hexdigest()])
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def canonical_request(method, target, fields, signed, payload):
    path, _, query = target.partition("?")
    pairs = sorted((quote(unquote(k), safe="-_.~"), quote(unquote(v), safe="-_.~"))
                   for k, _, v in (p.partition("=") for p in query.split("&") if p))
    lines = []
    for name in signed:
        values = [" ".join(v.split()) for n, v in fields if n.lower() == name]
        if not values:
            return None
        lines.append(f"{name}:{','.join(values)}\n")
    return "\n".join([method, quote(path or "/", safe="/-_.~"), "&".join(f"{k}={v}" for k, v in pairs), "".join(lines),
                      ";".join(signed), hashlib.sha256(payload).hexdigest()])


def with_region(authorization, region):
    """The header with another region in the scope. The signature is wrong afterwards: for a backend that doesn't look."""
    return re.sub(r"(Credential=[^/]+/\d{8}/)[^/]+/", rf"\g<1>{region}/", authorization)


def check(known, head, payload, clock=0, now=None):
    """None when the request is signed as it should be, else the error to answer (see faults.error_reply). clock: seconds to be added to this machine's."""
    parts = _AUTH.match(head.get("Authorization"))
    if not parts:
        return {"type": "MissingAuthenticationTokenException" if not head.get("Authorization") else "IncompleteSignatureException",
                "message": "Missing or malformed Authorization header"}
    access_key, date, region, service, signed, given = parts.groups()
    owner = known.get(access_key)
    if owner is None:
        return {"type": "UnrecognizedClientException", "message": "The security token included in the request is invalid."}
    if owner.get("error"):
        return {"type": owner["error"], "message": "The security token included in the request is expired"}
    if head.get("X-Amz-Security-Token") != (owner.get("token") or ""):
        return {"type": "UnrecognizedClientException", "message": "The security token included in the request is invalid."}
    signed = signed.split(";")
    present = {n.lower() for n, _ in head.fields}
    must = {"host"} | {n for n in present if n.startswith("x-amz-")}
    if signed != sorted(signed) or not must <= set(signed):
        return {"type": "InvalidSignatureException", "message": f"not signed: {sorted(must - set(signed))}"}
    amz_date = head.get("X-Amz-Date")
    try:
        at = datetime.datetime.strptime(amz_date, "%Y%m%dT%H%M%SZ")
    except ValueError:
        return {"type": "IncompleteSignatureException", "message": "Date must be in ISO-8601 'basic format'."}
    now = (now or datetime.datetime.utcnow()) + datetime.timedelta(seconds=clock)
    if not amz_date.startswith(date) or abs(now - at) > MAX_SKEW:
        return {"type": "InvalidSignatureException",
                "message": f"Signature expired: {amz_date} is now earlier than {(now - MAX_SKEW).strftime('%Y%m%dT%H%M%SZ')}"}
    canonical = canonical_request(head.method, head.start.split(" ")[1], head.fields, signed, payload)
    if canonical is None or not hmac.compare_digest(signature(owner["secret"], date, region, service, amz_date, canonical), given):
        return {"type": "InvalidSignatureException", "message": "The request signature we calculated does not match the signature "
                "you provided. Check your AWS Secret Access Key and signing method."}
    return None
