"""The image's bill of materials as SPDX 2.3: Debian's packages, the crates in the programs, and those that only built them.

Which crates those are, cargo says for the two programs alone: `cargo metadata` joins the features of the whole workspace, and would
name crates that are only in the tests.
"""

import datetime
import hashlib
import json
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from urllib.parse import quote

HERE = Path(__file__).resolve().parent.parent
TARGETS = {"amd64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}
OURS = "persistent-chat-failover"
LICENCE_FILE = re.compile(r"(?i)(un)?licen[cs]e|copying|copyright|notice")


def cargo(*command: str) -> str:
    return subprocess.run(["cargo", *command], cwd=HERE, check=True, stdout=subprocess.PIPE, text=True).stdout


@cache
def _workspace() -> dict:
    return tomllib.loads((HERE / "Cargo.toml").read_text())["workspace"]["package"]


def version() -> str:
    return _workspace()["version"]


def repository() -> str:
    return _workspace()["repository"]


def timestamp(epoch: int) -> str:
    return datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _crates(target: str, edges: str) -> set[tuple[str, str]]:
    shown = cargo("tree", "--locked", "--package", OURS, "--target", target, "--edges", edges, "--prefix", "none", "--format", "{p}")
    return {(m[1], m[2]) for m in re.finditer(r"^(\S+) v(\S+)", shown, re.MULTILINE)}


def _metadata(target: str) -> dict[tuple[str, str], dict]:
    said = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--filter-platform", target))
    return {(package["name"], package["version"]): package for package in said["packages"]}


def notices(architecture: str) -> str:
    """The licences of the crates in the programs, word by word: most of them ask that copies carry them."""
    target = TARGETS[architecture]
    known = _metadata(target)
    holders: dict[str, list[str]] = {}
    for crate in sorted(_crates(target, "normal,no-proc-macro")):
        package = known[crate]
        if not package["source"]:
            continue
        folder = Path(package["manifest_path"]).parent
        texts = [f.read_text(errors="replace") for f in sorted(folder.iterdir()) if f.is_file() and LICENCE_FILE.match(f.name)]
        # Some name their licence and carry no text.
        for text in texts or ["(It has no file with the text.)\n"]:
            holders.setdefault(text.strip() + "\n", []).append(f"{crate[0]} {crate[1]} ({_expression(package)})")
    parts = [", ".join(names) + ":\n\n" + text for text, names in sorted(holders.items(), key=lambda item: item[1])]
    return "The programs contain these crates.\n\n" + f"\n{'-' * 80}\n\n".join(parts)


def _expression(package: dict) -> str:
    # The slash is how crates wrote OR before Cargo took SPDX's expressions.
    return re.sub(r"\s*/\s*", " OR ", package["license"])


def _identifier(*parts: str) -> str:
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", "-".join(parts))


def _package(identifier: str, name: str, its_version: str, licence: str, purl: str, sha256: str | None, **more) -> dict:
    package = {
        "SPDXID": identifier,
        "name": name,
        "versionInfo": its_version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": licence,
        "copyrightText": "NOASSERTION",
        "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}],
        **more,
    }
    if sha256:
        package["checksums"] = [{"algorithm": "SHA256", "checksumValue": sha256}]
    return package


def _debian(package: dict) -> dict:
    name, its_version = package["name"], package["version"]
    purl = f"pkg:deb/debian/{name}@{quote(its_version, safe='~')}?arch={package['architecture']}&distro=debian-12"
    return _package(
        _identifier("deb", name),
        name,
        its_version,
        package["licence"],
        purl,
        package["sha256"],
        supplier="Organization: Debian",
        sourceInfo=f"built from the source package {package['source']} {package['sourceVersion']}",
        licenseComments=f"of the files that are in the image; the whole package: /usr/share/doc/{name}/copyright",
    )


def document(image_name: str, image_digest: str, architecture: str, epoch: int, packages: list[dict], programs: dict[str, bytes]) -> dict:
    target = TARGETS[architecture]
    known = _metadata(target)
    checksums = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.loads((HERE / "Cargo.lock").read_text())["package"]}
    linked = _crates(target, "normal,no-proc-macro")
    building = _crates(target, "normal,build") - linked
    toolchain = tomllib.loads((HERE / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    digest = image_digest.removeprefix("sha256:")

    root = _identifier("image")
    ours = _identifier("crate", OURS, version())
    described = [
        _package(
            root,
            image_name,
            version(),
            "NOASSERTION",
            f"pkg:oci/{image_name}@{quote(image_digest, safe='')}?arch={architecture}&tag={version()}",
            digest,
            primaryPackagePurpose="CONTAINER",
            comment="The checksum is that of the image's manifest: its digest.",
        )
    ]
    relations = [("SPDXRef-DOCUMENT", "DESCRIBES", root)]

    for package in packages:
        described.append(_debian(package))
        relations.append((root, "CONTAINS", described[-1]["SPDXID"]))

    standard = _identifier("rust", "std", toolchain)
    described.append(
        _package(standard, "rust-std", toolchain, "MIT OR Apache-2.0", f"pkg:generic/rust-std@{toolchain}", None, supplier="Organization: The Rust Project")
    )
    relations.append((ours, "STATIC_LINK", standard))
    for name, its_version in sorted(linked | building):
        crate = known[name, its_version]
        identifier = _identifier("crate", name, its_version)
        more = {} if crate["source"] else {"supplier": "NOASSERTION", "comment": "part of this project"}
        purl = f"pkg:cargo/{name}@{quote(its_version, safe='')}"
        described.append(_package(identifier, name, its_version, _expression(crate), purl, checksums[name, its_version], **more))
        if identifier == ours:
            relations.append((root, "CONTAINS", ours))
        elif (name, its_version) in linked:
            relations.append((ours, "STATIC_LINK", identifier))
        else:
            relations.append((identifier, "BUILD_DEPENDENCY_OF", ours))

    held = []
    for path, content in sorted(programs.items()):
        identifier = _identifier("file", path)
        held.append(
            {
                "SPDXID": identifier,
                "fileName": f"./{path}",
                "fileTypes": ["BINARY"],
                "checksums": [
                    {"algorithm": "SHA1", "checksumValue": hashlib.sha1(content).hexdigest()},
                    {"algorithm": "SHA256", "checksumValue": hashlib.sha256(content).hexdigest()},
                ],
                "licenseConcluded": "NOASSERTION",
                "licenseInfoInFiles": ["NOASSERTION"],
                "copyrightText": "NOASSERTION",
            }
        )
        # No CONTAINS: SPDX has that only for packages all of whose files are listed.
        relations.append(("SPDXRef-DOCUMENT", "DESCRIBES", identifier))
        relations.append((identifier, "GENERATED_FROM", ours))

    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{image_name} {version()}",
        # Another image, another name; the same image, the same name.
        "documentNamespace": f"{repository()}/sbom/{digest}",
        "creationInfo": {"created": timestamp(epoch), "creators": ["Tool: image_sbom.py"], "licenseListVersion": "3.22"},
        "packages": described,
        "files": held,
        "relationships": [{"spdxElementId": a, "relationshipType": kind, "relatedSpdxElement": b} for a, kind, b in relations],
    }
