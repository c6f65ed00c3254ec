"""Looks at the models folder again and again."""

from service.inference.repeated import Repeated
from service.inference.repository import Repository


class Watch(Repeated):
    """Lets a repository take over what has changed in its folder."""

    def __init__(self, repository: Repository, interval_s: float) -> None:
        super().__init__("watch", interval_s)
        self._repository = repository

    def look(self) -> None:
        """Refresh the repository."""
        self._repository.refresh()
