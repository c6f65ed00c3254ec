"""GET /models: the models that a request may name."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.contract import ModelCard, Precision
from service.http.problems import responses
from service.inference.models.repository import Repository, ServedModel
from service.inference.sessions.device import ReportedDevice


class CatalogueEntry(ModelCard):
    """The card of the file that answers when no precision is asked for, and how the model is served."""

    sha256: str
    device: ReportedDevice
    variants: list[Precision]


class BrokenFile(BaseModel):
    """A file in the models folder that is not served."""

    file: str
    reason: str


class Catalogue(BaseModel):
    """All models, the files that are not served, and the model used when a request names none."""

    models: list[CatalogueEntry]
    broken: list[BrokenFile]
    default: str | None = Field(description="null: the service names a default model that it does not have")


def catalogue_router(repository: Repository, default_model: str) -> APIRouter:
    """The routes that report on the models of `repository`."""
    router = APIRouter(prefix="/models")

    def entry(served: ServedModel) -> CatalogueEntry:
        file = served.preferred.file
        variants = [precision for precision, variant in served.variants.items() if variant.fault is None]
        return CatalogueEntry(**file.card.model_dump(), sha256=file.sha256, device=served.device, variants=variants)

    @router.get("", summary="All models", responses=responses(401))
    async def models() -> Catalogue:
        default = default_model if default_model in repository.models else None
        broken = [BrokenFile(file=file, reason=reason) for file, reason in repository.broken.items()]
        return Catalogue(models=[entry(served) for served in repository.models.values()], broken=broken, default=default)

    @router.get("/{name}", summary="One model's card", responses=responses(401, 404, 422))
    async def card(name: str) -> CatalogueEntry:
        return entry(repository.model(name))

    return router
