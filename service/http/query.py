"""The query parameters of a request for a segmentation."""

from typing import Annotated, cast

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, StringConstraints, ValidationError

from service.contract import Precision
from service.pipeline import Resolution
from service.results.renderings import Format


class SegmentQuery(BaseModel):
    """The query of POST /segment; unknown parameters are ignored."""

    model: str | None = Field(None, description="a name of GET /models; default: the service's")
    precision: Precision | None = Field(None, description="a variant of the model; default: automatic")
    resolution: Annotated[str, StringConstraints(pattern=r"^(model|native|[1-9][0-9]{0,5})$")] = Field(
        "model",
        description="`model`, `native`, or pixels of the long side; images are never enlarged. Large ones are run in tiles; "
        "a model whose card has no halo takes up to about 4 megapixels",
    )
    format: Format | None = Field(None, description="overrides the Accept header")
    opacity: float = Field(0.5, ge=0, le=1, description="of the colours, for `overlay`")

    def job_resolution(self) -> Resolution:
        """The resolution as a `Job` takes it: a number of pixels becomes an int."""
        return cast(Resolution, int(self.resolution) if self.resolution.isdecimal() else self.resolution)


def segment_query(request: Request) -> SegmentQuery:
    """Validate the query of a request. If a parameter is given twice, its last value counts.

    FastAPI does the same for a model annotated with `Query()`, but analyses the types of its fields anew for each request,
    which takes a fifth of the event loop's time. Raises RequestValidationError, as FastAPI does.
    """
    try:
        return SegmentQuery.model_validate(dict(request.query_params))
    except ValidationError as error:
        faults = [{**fault, "loc": ("query", *fault["loc"])} for fault in error.errors()]
        raise RequestValidationError(faults) from error


def query_parameters() -> list[dict[str, object]]:
    """The OpenAPI description of the query parameters."""
    schemas = SegmentQuery.model_json_schema()["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": schema["description"]}
        for name, schema in schemas.items()
    ]
