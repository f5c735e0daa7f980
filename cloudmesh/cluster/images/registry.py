"""A client of the cluster's image registry (Docker Registry HTTP API v2), through a plain listener on loopback.

A job's files travel as one more layer on an image that the registry already has. This needs no Docker daemon, and
layers that the registry already has are neither sent nor copied.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from cloudmesh.cluster.core.digests import sha256_of_stream
from cloudmesh.cluster.core.errors import ImageError, NotFoundError, UsageError
from cloudmesh.cluster.images import layers

if TYPE_CHECKING:
    import requests
    from urllib3 import Retry


_CONTENT = "cloudmesh.content"  # the annotation with the `content` that `put_image` got
_ACCEPT = {"Accept": ", ".join((*layers.LAYER_OF, *layers.INDEXES))}
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_REFERENCE = re.compile(r"\w[\w.-]{0,127}|sha256:[0-9a-f]{64}", re.ASCII)
_TIMEOUT = (10, 300)  # seconds: to connect, and without any data
_CHECK_SECONDS = 10
_READINGS, _PAUSE_SECONDS, _SERVER_ERRORS = 4, 0.2, range(500, 600)
_FILE, _NO_CONFIG, _DIGITS = "application/octet-stream", b"{}", 12


class Registry:
    """A registry that answers plain HTTP on 127.0.0.1.

    Every method raises ImageError where the registry does not answer or refuses a request, and UsageError where the
    name of a repository, a tag or a digest is malformed.

    Args:
        port: TCP port on 127.0.0.1.

    Attributes:
        port: that port.
        pushed: the digests "sha256:…" of the images that were put here through this object, by repository and tag.
    """

    def __init__(self, port: int) -> None:
        import requests

        self.port = port
        self.pushed: dict[tuple[str, str], str] = {}
        self._base = f"http://127.0.0.1:{port}"
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy of the site cannot reach what is on loopback
        self._session.mount("http://", requests.adapters.HTTPAdapter(max_retries=_read_again()))

    def check(self) -> None:
        """Raise ImageError where the registry does not answer."""
        self._ask("GET", "/v2/", timeout=_CHECK_SECONDS)

    def has_blob(self, repo: str, digest: str) -> bool:
        """Return whether the repository has the blob "sha256:…"."""
        return self._find("HEAD", _path(repo, "blobs", digest)) is not None

    def put_blob(self, repo: str, content: bytes | Path) -> str:
        """Store bytes, or the content of a file, unless the repository has them; return the digest "sha256:…"."""
        with _open(content) as stream:
            digest = f"sha256:{sha256_of_stream(stream)}"
            if not self.has_blob(repo, digest):
                stream.seek(0)
                upload = self._ask("POST", _path(repo, "blobs") + "/uploads/")
                self._ask("PUT", _path_and_query(upload.headers["Location"]), params={"digest": digest}, data=stream)
        return digest

    def has_manifest(self, repo: str, ref: str) -> bool:
        """Return whether the repository has the image `ref`, a tag or a digest."""
        return self._find("HEAD", _path(repo, "manifests", ref), headers=_ACCEPT) is not None

    def put_manifest(self, repo: str, ref: str, manifest: bytes, media_type: str) -> str:
        """Store the manifest of an image whose blobs the repository has; it replaces an older image of this tag.

        Returns:
            The image's digest, "sha256:…".
        """
        path = _path(repo, "manifests", ref)
        answer = self._ask("PUT", path, data=manifest, headers={"Content-Type": media_type})
        self.pushed[repo, ref] = str(answer.headers["Docker-Content-Digest"])
        return self.pushed[repo, ref]

    def name_blobs(self, repo: str, ref: str, sizes: Mapping[str, int]) -> None:
        """Give blobs that are no image a manifest, by which other registries get them, unless they have one.

        Args:
            repo: the repository that has them.
            ref: begins the manifest's tag.
            sizes: in bytes, by digest "sha256:…".
        """
        entries = [{"mediaType": _FILE, "digest": digest, "size": size} for digest, size in sizes.items()]
        config = layers.descriptor(layers.CONFIG, _NO_CONFIG)
        fields = {"schemaVersion": 2, "mediaType": layers.MANIFEST, "config": config, "layers": entries}
        manifest = json.dumps(fields).encode()
        tag = f"{ref}-{hashlib.sha256(manifest).hexdigest()[:_DIGITS]}"
        if not self.has_manifest(repo, tag):
            self.put_blob(repo, _NO_CONFIG)
            self.put_manifest(repo, tag, manifest, layers.MANIFEST)

    def note_pushed(self, repo: str, ref: str) -> None:
        """Take down that somebody else, such as a Docker daemon, has put the image here."""
        self.pushed[repo, ref] = self.digest(repo, ref)

    def digest(self, repo: str, ref: str) -> str:
        """Return the digest "sha256:…" of an image: pulled by it, it is the same whatever its tag names later.

        Raises:
            NotFoundError: there is no image `repo:ref`.
        """
        answer = self._find("HEAD", _path(repo, "manifests", ref), headers=_ACCEPT)
        if answer is None:
            raise NotFoundError(f"image {repo}:{ref} is not in the cluster's registry")
        return str(answer.headers["Docker-Content-Digest"])

    def append_layer(self, repo: str, ref: str, layer_tar_gz: bytes, to_repo: str, to_ref: str) -> str:
        """Make the image `to_repo:to_ref` from the image `repo:ref` and one more layer, unless it exists.

        Returns:
            The new image's digest, "sha256:…".

        Raises:
            NotFoundError: there is no image `repo:ref`, or it is not for Linux on amd64.
        """
        target = _path(to_repo, "manifests", to_ref)
        answer = self._find("GET", target, headers=_ACCEPT)
        if answer is not None:
            # Written again it is new, and stays until its job is there: images/host/registry-collect.sh.
            return self.put_manifest(to_repo, to_ref, answer.content, answer.headers["Content-Type"])
        media_type, manifest = self._read_manifest(repo, ref)
        for entry in manifest["layers"]:
            self._mount(to_repo, entry["digest"], repo)
        config = self._ask("GET", _path(repo, "blobs", manifest["config"]["digest"])).json()
        layer = layers.describe_layer(layer_tar_gz)
        new_config = json.dumps(layers.with_layer(config, layer, "cms cluster submit")).encode()
        new_manifest = {
            **manifest,
            "config": layers.descriptor(manifest["config"]["mediaType"], new_config),
            "layers": [*manifest["layers"], layers.descriptor(layers.LAYER_OF[media_type], layer)],
        }
        self.put_blob(to_repo, layer_tar_gz)
        self.put_blob(to_repo, new_config)
        return self.put_manifest(to_repo, to_ref, json.dumps(new_manifest).encode(), media_type)

    def content(self, repo: str, ref: str) -> str:
        """Return the `content` that `put_image` made the image with; empty where it did not make it."""
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
        """Make the image `repo:ref` from one layer, or from another image and the layer; it replaces an older image.

        Args:
            repo: repository of the new image.
            ref: tag of the new image.
            layer: its only or last layer.
            settings: what the image runs and how: "Entrypoint", "Env", … with the keys of an OCI configuration.
            content: a description of what the image contains; it is stored with the image, see the method `content`.
            arch: architecture of the image.
            base: repository and tag of the image below the layer; None: there is none.

        Raises:
            NotFoundError: `base` does not exist, or not for this architecture.
        """
        config, below = self._mount_base(base, repo, arch) if base else (layers.empty_config(arch), [])
        config = layers.with_layer(config, layer, "cms cluster create")
        new_config = json.dumps({**config, "config": {**(config.get("config") or {}), **settings}}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": layers.MANIFEST,
            "config": layers.descriptor(layers.CONFIG, new_config),
            "layers": [*below, layers.descriptor(layers.LAYER, layer)],
            "annotations": {_CONTENT: content},
        }
        self.put_blob(repo, layer.content)
        self.put_blob(repo, new_config)
        self.put_manifest(repo, ref, json.dumps(manifest).encode(), layers.MANIFEST)

    def _read_manifest(self, repo: str, ref: str, arch: str = "amd64") -> tuple[str, dict[str, Any]]:
        """Return media type and manifest of an image; of a multi-platform image, those of its part for Linux on `arch`.

        Raises:
            NotFoundError: there is no such image, or it has no part for Linux on `arch`.
            ImageError: its manifest has an unknown media type.
        """
        answer = self._find("GET", _path(repo, "manifests", ref), headers=_ACCEPT)
        if answer is None:
            raise NotFoundError(f"image {repo}:{ref} is not in the cluster's registry")
        manifest: dict[str, Any] = answer.json()
        media_type = manifest.get("mediaType") or answer.headers["Content-Type"].partition(";")[0]
        if media_type in layers.INDEXES:
            for entry in manifest["manifests"]:
                platform = entry.get("platform", {})
                if (platform.get("os"), platform.get("architecture")) == ("linux", arch):
                    return self._read_manifest(repo, entry["digest"], arch)
            raise NotFoundError(f"image {repo}:{ref} is not for linux/{arch}")
        if media_type not in layers.LAYER_OF:
            raise ImageError(f"image {repo}:{ref} has a manifest of an unknown kind: {media_type}")
        return media_type, manifest

    def _mount_base(self, base: tuple[str, str], repo: str, arch: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Mount the layers of `base` in `repo`; return its configuration and a manifest's entries of its layers.

        Raises:
            NotFoundError: `base` does not exist, or not for this architecture.
        """
        _, manifest = self._read_manifest(*base, arch)
        config: dict[str, Any] = self._ask("GET", _path(base[0], "blobs", manifest["config"]["digest"])).json()
        if config.get("architecture") != arch:
            raise NotFoundError(f"image {':'.join(base)} is not for linux/{arch}")
        for layer in manifest["layers"]:
            self._mount(repo, layer["digest"], base[0])
        return config, [{**layer, "mediaType": layers.LAYER} for layer in manifest["layers"]]

    def _mount(self, repo: str, digest: str, source: str) -> None:
        """Make a blob of the repository `source` available in `repo`; the registry does not copy it.

        Raises:
            ImageError: `source` does not have the blob.
        """
        if repo == source or self.has_blob(repo, digest):
            return
        answer = self._ask("POST", _path(repo, "blobs") + "/uploads/", params={"mount": digest, "from": source})
        if answer.status_code != 201:
            raise ImageError(f"the registry has no {digest} in {source}: push that image again")

    def _find(self, method: str, path: str, **options: Any) -> requests.Response | None:
        """Send a request for something that may be missing; return None where it is."""
        answer = self._send(method, path, **options)
        return None if answer.status_code == 404 else _raise_for_refusal(answer)

    def _ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request that the registry is expected to accept; ImageError where it refuses."""
        return _raise_for_refusal(self._send(method, path, **options))

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request; ImageError where there is no answer. The only place that maps errors of requests."""
        import requests

        try:
            return self._session.request(method, self._base + path, **{"timeout": _TIMEOUT, **options})
        except requests.RequestException as error:
            raise ImageError(f"the cluster's registry does not answer: {_describe_cause(error)}") from error


def _read_again() -> Retry:
    """Return when a request is sent again: reading fails for a moment while others store an image of the same name."""
    from urllib3 import Retry

    return Retry(
        total=None,
        connect=0,
        read=0,
        other=0,
        redirect=0,
        status=_READINGS,
        status_forcelist=_SERVER_ERRORS,
        allowed_methods=("GET", "HEAD"),
        backoff_factor=_PAUSE_SECONDS,
        raise_on_status=False,
    )


def _path(repo: str, kind: str, reference: str = "") -> str:
    """Return the URL path of the manifests or blobs (`kind`) of a repository, or of the one that `reference` names.

    Raises:
        UsageError: `repo` or `reference` is malformed.
    """
    if len(repo) > 255 or not _REPOSITORY.fullmatch(repo):
        raise UsageError(f"image name {repo[:60]!a} is not valid: use lower-case letters, digits and ._-/")
    if reference and not _REFERENCE.fullmatch(reference):
        raise UsageError(f"image tag {reference[:60]!a} is not valid: use letters, digits and ._-")
    return f"/v2/{repo}/{kind}" + (f"/{reference}" if reference else "")


def _path_and_query(url: str) -> str:
    """Return path and query of a URL that the registry gave: behind a proxy, its idea of its address is wrong."""
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _open(content: bytes | Path) -> BinaryIO:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")


def _describe_cause(error: BaseException) -> str:
    """Return the message of an error's innermost cause: those of requests are long and repeat it three times."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error) or type(error).__name__


def _describe_refusal(error: Mapping[str, Any]) -> str:
    """Return the message of an entry in the registry's list of errors.

    The entry of an error in the registry's storage says "unknown error"; its details say what happened.
    """
    message, detail = str(error.get("message") or error["code"]), error.get("detail")
    if error.get("code") == "UNKNOWN" and isinstance(detail, str):
        return detail
    while isinstance(detail, dict) and "Enclosed" in detail:
        detail = detail["Enclosed"]
    number = detail.get("Err") if isinstance(detail, dict) else None
    return f"{message}: {os.strerror(number)}" if isinstance(number, int) else message


def _raise_for_refusal(answer: requests.Response) -> requests.Response:
    """Return the answer; ImageError, with the registry's message, where it is a refusal."""
    if answer.ok:
        return answer
    try:
        reason = "; ".join(_describe_refusal(error) for error in answer.json()["errors"])
    except (ValueError, KeyError, TypeError, AttributeError):
        reason = f"HTTP {answer.status_code}"
    request = f"{answer.request.method} {urlsplit(answer.request.url or '').path!s}"
    raise ImageError(f"the cluster's registry refused {request}: {reason}")
