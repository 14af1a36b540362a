"""The errors of AWS KMS, with the HTTP codes that the API reference gives them ("Common errors" and each operation's own)."""

SERVER_SIDE = ("KMSInternalException", "KeyUnavailableException", "DependencyTimeoutException", "InternalFailure")
OTHER_CODES = {"ServiceUnavailable": 503}


class KmsError(Exception):
    def __init__(self, kind, message=""):
        super().__init__(f"{kind}: {message}")
        self.kind, self.message = kind, message

    @property
    def status(self):
        return status_of(self.kind)


def status_of(kind):
    return OTHER_CODES.get(kind, 500 if kind in SERVER_SIDE else 400)


def invalid(message):
    return KmsError("ValidationException", message)


def not_found(message):
    return KmsError("NotFoundException", message)
