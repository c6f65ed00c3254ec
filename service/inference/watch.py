"""Changes of the models folder, taken over while the service runs."""

from service.inference.repeated import Repeated
from service.inference.repository import Repository

RETRY_S = 10.0  # between two trials to load what there was no room for, where changes are not looked for


class Watch(Repeated):
    """Lets a repository take over what has changed in its folder, and try again what it could not load."""

    def __init__(self, repository: Repository, interval_s: float) -> None:
        """`interval_s`: between looks for changes; 0: there are none."""
        super().__init__("watch", interval_s or RETRY_S)
        self._repository, self._changes = repository, interval_s > 0

    def look(self) -> None:
        """Refresh the repository."""
        self._repository.refresh(changes=self._changes)
