"""Why an upload is not segmented."""


class BrokenImage(ValueError):
    """Empty, truncated or damaged bytes."""


class UnsupportedImage(ValueError):
    """Not one of the accepted formats, or pixels without a defined meaning."""


class TooManyPixels(ValueError):
    """An image that is larger than a limit, as its header shows."""

    def __init__(self, detail: str, limit: int) -> None:
        super().__init__(f"{detail}, the limit is {limit}")
        self.limit = limit
