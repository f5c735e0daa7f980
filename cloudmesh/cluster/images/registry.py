"""The cluster's image registry (Docker Registry HTTP API v2), as reached through a plain listener on loopback.

A job's files travel as one layer appended to an image that the registry already has: no Docker engine takes part, and
what the registry has is neither sent nor copied again.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from cloudmesh.cluster.core.errors import ImageError, NotFoundError, UsageError
from cloudmesh.cluster.images import layers

if TYPE_CHECKING:
    import requests


_CONTENT = "cloudmesh.content"  # the annotation that tells what an image of ours was made of
_ACCEPT = {"Accept": ", ".join((*layers.LAYER_OF, *layers.INDEXES))}
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_REFERENCE = re.compile(r"\w[\w.-]{0,127}|sha256:[0-9a-f]{64}", re.ASCII)
_PAGE = 1000
_TIMEOUT = (10, 300)


class Registry:
    """A registry that answers plain HTTP on 127.0.0.1.

    Args:
        port: of the listener on loopback.

    Every method raises ImageError when the registry does not answer or refuses, and UsageError for a name that is none.
    """

    def __init__(self, port: int) -> None:
        import requests

        self.port = port
        self._base = f"http://127.0.0.1:{port}"
        self._session = requests.Session()
        self._session.trust_env = False  # a site proxy must not be asked for what is on loopback

    def has_blob(self, repo: str, digest: str) -> bool:
        """Return whether the repository has the blob "sha256:…"."""
        return self._find("HEAD", _path(repo, "blobs", digest)) is not None

    def put_blob(self, repo: str, content: bytes | Path) -> str:
        """Store bytes, or a file's content, unless the repository has them; return the digest."""
        with _opened(content) as stream:
            digest = f"sha256:{layers.sha256(stream)}"
            if not self.has_blob(repo, digest):
                stream.seek(0)
                upload = self._ask("POST", _path(repo, "blobs") + "/uploads/")
                self._ask("PUT", _local(upload.headers["Location"]), params={"digest": digest}, data=stream)
        return digest

    def has_manifest(self, repo: str, ref: str) -> bool:
        """Return whether there is an image `ref`, a tag or a digest, in the repository."""
        return self._find("HEAD", _path(repo, "manifests", ref), headers=_ACCEPT) is not None

    def append_layer(self, repo: str, ref: str, layer_tar_gz: bytes, to_repo: str, to_ref: str) -> str:
        """Make the image `to_repo:to_ref` of the image `repo:ref` and one more layer; nothing if it is there.

        Returns:
            The new image's digest.

        Raises:
            NotFoundError: there is no image `repo:ref`.
        """
        target = _path(to_repo, "manifests", to_ref)
        present = self._find("HEAD", target, headers=_ACCEPT)
        if present is not None:
            return str(present.headers["Docker-Content-Digest"])
        media_type, manifest = self._manifest(repo, ref)
        for layer in manifest["layers"]:
            self._mount(to_repo, layer["digest"], repo)
        config = self._ask("GET", _path(repo, "blobs", manifest["config"]["digest"])).json()
        above = layers.describe_layer(layer_tar_gz)
        new_config = json.dumps(layers.with_layer(config, above, "cms cluster submit")).encode()
        layer = layers.descriptor(layers.LAYER_OF[media_type], above)
        new = {
            **manifest,
            "config": layers.descriptor(manifest["config"]["mediaType"], new_config),
            "layers": [*manifest["layers"], layer],
        }
        self.put_blob(to_repo, layer_tar_gz)
        self.put_blob(to_repo, new_config)
        answer = self._ask("PUT", target, data=json.dumps(new).encode(), headers={"Content-Type": media_type})
        return str(answer.headers["Docker-Content-Digest"])

    def content(self, repo: str, ref: str) -> str:
        """Return what `put_image` was told that the image is made of; empty where there is none or it is of others."""
        answer = self._find("GET", _path(repo, "manifests", ref), headers={"Accept": layers.MANIFEST})
        return str(answer.json().get("annotations", {}).get(_CONTENT, "")) if answer is not None else ""

    def put_image(
        self,
        repo: str,
        ref: str,
        layer: layers.Layer,
        settings: Mapping[str, Any],
        *,
        content: str,
        arch: str = "amd64",
        base: tuple[str, str] | None = None,
    ) -> None:
        """Make the image `repo:ref` of one layer, or of another image and this layer, in place of what is there.

        Args:
            settings: what the image runs and how: "Entrypoint", "Env", … as an OCI configuration has it.
            content: kept with the image, for `content` to tell.
            base: repository and tag of the image below.

        Raises:
            NotFoundError: there is no such base for this architecture.
        """
        config, below = self._copied(base, repo, arch) if base else (layers.empty_config(arch), [])
        config = layers.with_layer(config, layer, "cms cluster create")
        new_config = json.dumps({**config, "config": {**(config.get("config") or {}), **settings}}).encode()
        new = {
            "schemaVersion": 2,
            "mediaType": layers.MANIFEST,
            "config": layers.descriptor(layers.CONFIG, new_config),
            "layers": [*below, layers.descriptor(layers.LAYER, layer)],
            "annotations": {_CONTENT: content},
        }
        self.put_blob(repo, layer.content)
        self.put_blob(repo, new_config)
        headers = {"Content-Type": layers.MANIFEST}
        self._ask("PUT", _path(repo, "manifests", ref), data=json.dumps(new).encode(), headers=headers)

    def repositories(self) -> tuple[str, ...]:
        """Return the names of all repositories."""
        return tuple(self._listed("/v2/_catalog", "repositories"))

    def tags(self, repo: str) -> tuple[str, ...]:
        """Return the tags of a repository; none if there is no such repository."""
        return tuple(sorted(self._listed(_path(repo, "tags", "list"), "tags")))

    def _manifest(self, repo: str, ref: str, arch: str = "amd64") -> tuple[str, dict[str, Any]]:
        """Return the media type and the manifest of the image; of a multi-platform one, Linux on `arch`."""
        answer = self._find("GET", _path(repo, "manifests", ref), headers=_ACCEPT)
        if answer is None:
            raise NotFoundError(f"image {repo}:{ref} is not in the cluster's registry")
        manifest: dict[str, Any] = answer.json()
        media_type = manifest.get("mediaType") or answer.headers["Content-Type"].partition(";")[0]
        if media_type in layers.INDEXES:
            for entry in manifest["manifests"]:
                platform = entry.get("platform", {})
                if (platform.get("os"), platform.get("architecture")) == ("linux", arch):
                    return self._manifest(repo, entry["digest"], arch)
            raise NotFoundError(f"image {repo}:{ref} is not for linux/{arch}")
        if media_type not in layers.LAYER_OF:
            raise ImageError(f"image {repo}:{ref} has a manifest of an unknown kind: {media_type}")
        return media_type, manifest

    def _copied(self, base: tuple[str, str], repo: str, arch: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Let `repo` have the layers of `base`; return its configuration and what a manifest says of the layers."""
        _, manifest = self._manifest(*base, arch)
        config: dict[str, Any] = self._ask("GET", _path(base[0], "blobs", manifest["config"]["digest"])).json()
        if config.get("architecture") != arch:
            raise NotFoundError(f"image {':'.join(base)} is not for linux/{arch}")
        for layer in manifest["layers"]:
            self._mount(repo, layer["digest"], base[0])
        return config, [{**layer, "mediaType": layers.LAYER} for layer in manifest["layers"]]

    def _mount(self, repo: str, digest: str, source: str) -> None:
        """Let `repo` have a blob of the repository `source`, without a copy."""
        if repo == source or self.has_blob(repo, digest):
            return
        answer = self._ask("POST", _path(repo, "blobs") + "/uploads/", params={"mount": digest, "from": source})
        if answer.status_code != 201:
            raise ImageError(f"the registry has no {digest} in {source}: push that image again")

    def _listed(self, path: str, key: str) -> Iterator[str]:
        """Yield what is under `key` in all pages of a listing."""
        next_page: str | None = f"{path}?n={_PAGE}"
        while next_page:
            answer = self._find("GET", next_page)
            if answer is None:
                return
            yield from answer.json().get(key) or ()
            link = answer.links.get("next", {}).get("url")
            next_page = link and _local(link)

    def _find(self, method: str, path: str, **options: Any) -> requests.Response | None:
        """Ask for something that may not be there; None then."""
        answer = self._send(method, path, **options)
        return None if answer.status_code == 404 else _accepted(answer)

    def _ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """Ask for something that must be possible."""
        return _accepted(self._send(method, path, **options))

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request; the one place where errors of `requests` are mapped."""
        import requests

        try:
            return self._session.request(method, self._base + path, timeout=_TIMEOUT, **options)
        except requests.RequestException as error:
            raise ImageError(f"the cluster's registry does not answer: {_innermost(error)}") from error


def _path(repo: str, kind: str, reference: str = "") -> str:
    """Return the path of a thing in a repository, its names checked."""
    if len(repo) > 255 or not _REPOSITORY.fullmatch(repo):
        raise UsageError(f"image name {repo[:60]!a} is not valid: use lower-case letters, digits and ._-/")
    if reference and not _REFERENCE.fullmatch(reference):
        raise UsageError(f"image tag {reference[:60]!a} is not valid: use letters, digits and ._-")
    return f"/v2/{repo}/{kind}" + (f"/{reference}" if reference else "")


def _local(url: str) -> str:
    """Return path and query: a registry behind a proxy does not know by which address it is reached."""
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _opened(content: bytes | Path) -> BinaryIO:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")


def _innermost(error: BaseException) -> str:
    """Return what is at the bottom of an error of `requests`, which are long and name the same thing thrice."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return str(error) or type(error).__name__


def _words(error: Mapping[str, Any]) -> str:
    """Return what an error of the registry says. An "unknown error" is one of its storage, told in the details."""
    words, detail = str(error.get("message") or error["code"]), error.get("detail")
    if error.get("code") == "UNKNOWN" and isinstance(detail, str):
        return detail
    while isinstance(detail, dict) and "Enclosed" in detail:
        detail = detail["Enclosed"]
    number = detail.get("Err") if isinstance(detail, dict) else None
    return f"{words}: {os.strerror(number)}" if isinstance(number, int) else words


def _accepted(answer: requests.Response) -> requests.Response:
    """Return the answer, unless the registry refused; the error has its own words."""
    if answer.ok:
        return answer
    try:
        reason = "; ".join(_words(error) for error in answer.json()["errors"])
    except (ValueError, KeyError, TypeError, AttributeError):
        reason = f"HTTP {answer.status_code}"
    request = f"{answer.request.method} {urlsplit(answer.request.url or '').path!s}"
    raise ImageError(f"the cluster's registry refused {request}: {reason}")
