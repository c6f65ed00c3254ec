"""GET /models: what can be asked for."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.contract import ModelCard, Precision
from service.http.problems import Problem, responses
from service.inference.device import ReportedDevice
from service.inference.repository import Repository, UnknownModel


class CatalogueEntry(ModelCard):
    """A model's card, and how it is served."""

    sha256: str
    device: ReportedDevice
    variants: list[Precision]


class Catalogue(BaseModel):
    """Every model, and the one used when none is named."""

    models: list[CatalogueEntry]
    default: str | None = Field(description="null: the service names a default model that it does not have")


def catalogue_router(repository: Repository, default_model: str) -> APIRouter:
    """The routes, bound to the models."""
    router = APIRouter(prefix="/models")

    def entry(name: str) -> CatalogueEntry:
        model = repository.get(name)
        variants = list(repository.variants(name))
        return CatalogueEntry(**model.card.model_dump(), sha256=model.sha256, device=model.device, variants=variants)

    @router.get("", summary="All models", responses=responses(401))
    async def models() -> Catalogue:
        default = default_model if default_model in repository.models else None
        return Catalogue(models=[entry(name) for name in repository.models], default=default)

    @router.get("/{name}", summary="One model's card", responses=responses(401, 404, 422))
    async def card(name: str) -> CatalogueEntry:
        try:
            return entry(name)
        except UnknownModel as error:
            raise Problem(404, str(error)) from error

    return router
