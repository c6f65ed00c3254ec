"""Words that several messages need."""


def counted(number: int, what: str) -> str:
    """1, "error" -> "1 error"; 2, "error" -> "2 errors"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
