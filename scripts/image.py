#!/usr/bin/env python3
"""Makes the container image without a container engine: an OCI image layout in target/image, a tar of it, and its SBOM.

The image holds the two programs and what they need of Debian, and nothing that could be run beside them: no shell, no package manager.
Debian's packages are downloaded by apt, which checks them against Debian's signed index. They are the newest of the release: an image
that is built anew has Debian's security updates. What was taken is recorded in packages.json beside the image, and with --packages
exactly that is taken again: from one commit, one record and one pair of programs comes one digest.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import image_sbom

HERE = Path(__file__).resolve().parent.parent
NAME = "persistent-chat-failover"
TITLE = "Persistent Chat failover"
PROGRAMS = ("pcf-operator", "kubectl-pcf")
RELEASE = "bookworm"
# The user that distroless images and their guides have made known as `nonroot`.
NONROOT = 65532

# What the image may have of Debian, and under which licence the files are that it takes. A library that the programs need and that is in
# none of these is an error, not an addition: what gets into the image is decided here.
PACKAGES = {
    # /etc/os-release, by which scanners know which advisories apply, and the texts of the licences.
    "base-files": "GPL-2.0-or-later",
    # The certificates only; the programs that manage them stay out.
    "ca-certificates": "MPL-2.0",
    # The copyright of libgcc-s1 is there.
    "gcc-12-base": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libc6": "LGPL-2.1-or-later",
    "libgcc-s1": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libssl3": "Apache-2.0",
}
# No time zones: the programs know offsets from UTC only.
KEPT = ("etc/debian_version", "etc/os-release", "usr/lib/os-release", "usr/share/common-licenses/")
CERTIFICATES = "usr/share/ca-certificates/mozilla/"
ROOTS = "etc/ssl/certs"
MACHINES = {"X86-64": "amd64", "AArch64": "arm64"}


def fail(message: str) -> None:
    sys.exit(f"image.py: {message}")


def run(*command: str, **options) -> bytes:
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, cwd=HERE, **options)
    if done.returncode != 0:
        fail(f"{' '.join(command)} ended with {done.returncode}")
    return done.stdout


@dataclass(frozen=True)
class Entry:
    """A file (content), a symbolic link (link) or a folder (neither)."""

    mode: int = 0o755
    content: bytes | None = None
    link: str | None = None


Tree = dict[str, Entry]


def add(tree: Tree, path: str, entry: Entry) -> None:
    """Puts an entry and the folders above it into the tree."""
    parent = os.path.dirname(path)
    if parent and parent not in tree:
        add(tree, parent, Entry())
    tree[path] = entry


def text(tree: Tree, path: str, content: str) -> None:
    add(tree, path, Entry(0o644, content.encode()))


# --- Debian -------------------------------------------------------------------------------------------------------------------------


class Debian:
    """Packages of this machine's Debian, in folders of our own: needs no root, and the machine's lists stay as they are."""

    def __init__(self, work: Path, architecture: str):
        self.debs = work / "debs"
        release = Path("/etc/os-release").read_text() if Path("/etc/os-release").exists() else ""
        if f"VERSION_CODENAME={RELEASE}" not in release:
            fail(f"this machine is no Debian {RELEASE}, and the image is made of its packages: build with the Containerfile instead")
        for tool in ("apt-get", "apt-cache", "dpkg-deb", "readelf", "objcopy"):
            if not shutil.which(tool):
                fail(f"{tool} is missing: install the packages apt, dpkg and binutils")
        for folder in ("state/lists/partial", "cache/archives/partial", "debs"):
            (work / folder).mkdir(parents=True, exist_ok=True)
        (work / "status").touch()
        # Of further archives that the machine may know, nothing is taken.
        (work / "preferences").write_text(
            f"Package: *\nPin: release o=Debian,n={RELEASE}*\nPin-Priority: 500\n\nPackage: *\nPin: release *\nPin-Priority: -1\n"
        )
        (work / "apt.conf").write_text(
            f"""
            Dir::State "{work}/state"; Dir::State::status "{work}/status"; Dir::Cache "{work}/cache";
            Dir::Etc::preferences "{work}/preferences"; Dir::Etc::preferencesparts "/dev/null";
            APT::Architecture "{architecture}"; APT::Architectures {{ "{architecture}"; }};
            APT::Sandbox::User ""; APT::Update::Error-Mode "any"; APT::Get::AllowUnauthenticated "false";
            Acquire::AllowInsecureRepositories "false"; Acquire::Languages "none";
            """
        )
        self.environment = {**os.environ, "APT_CONFIG": str(work / "apt.conf"), "LC_ALL": "C"}
        self.fresh = False

    def _apt(self, *command: str) -> bytes:
        if not self.fresh:
            self.fresh = True
            run("apt-get", "-qq", "update", env=self.environment)
        return run(*command, env=self.environment)

    def newest(self, name: str) -> dict:
        """The newest version of a package in the signed index, as packages.json records it."""
        policy = self._apt("apt-cache", "policy", name).decode()
        candidate = re.search(r"Candidate: (\S+)", policy)
        if not candidate or candidate[1] == "(none)":
            fail(f"Debian {RELEASE} has no package {name}")
        return self._indexed(name, candidate[1])

    def _indexed(self, name: str, version: str) -> dict:
        shown = self._apt("apt-cache", "show", f"{name}={version}").decode().split("\n\n")[0]
        fields = dict(re.findall(r"^([\w-]+): (.*)$", shown, re.MULTILINE))
        source = re.fullmatch(r"(\S+)(?: \((\S+)\))?", fields.get("Source", name))
        return {
            "name": name,
            "version": version,
            "architecture": fields["Architecture"],
            "source": source[1],
            "sourceVersion": source[2] or version,
            "sha256": fields["SHA256"],
        }

    def archive(self, package: dict) -> Path:
        """The package's file, with the very content that its record names."""
        kept = self.debs / f"{package['sha256']}.deb"
        if not (kept.exists() and sha256(kept.read_bytes()) == package["sha256"]):
            name, version = package["name"], package["version"]
            indexed = self._indexed(name, version)
            if indexed != package:
                fail(f"the index says {indexed}, the record says {package}")
            with tempfile.TemporaryDirectory(dir=self.debs) as folder:
                run("sh", "-c", 'cd "$1" && exec apt-get -qq download "$2"', "sh", folder, f"{name}={version}", env=self.environment)
                (found,) = Path(folder).iterdir()
                if sha256(found.read_bytes()) != package["sha256"]:
                    fail(f"{found.name} is not what the signed index names")
                found.rename(kept)
        return kept


def unpacked(archive: Path) -> Tree:
    """What a package consists of. Debian 12 has one /usr: /lib is a link to it."""
    tree: Tree = {}
    with tarfile.open(fileobj=io.BytesIO(run("dpkg-deb", "--fsys-tarfile", str(archive)))) as tar:
        for member in tar:
            path = re.sub(r"^(bin|sbin|lib|lib64)/", r"usr/\1/", member.name.removeprefix("./"))
            if member.isreg():
                tree[path] = Entry(member.mode, tar.extractfile(member).read())
            elif member.issym():
                tree[path] = Entry(0o777, link=member.linkname)
            elif not member.isdir():
                fail(f"{archive.name}: {member.name} is neither a file nor a link nor a folder")
    return tree


def elf(content: bytes) -> dict:
    """Machine, loader and libraries that a program or a library asks for."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        said = run("readelf", "--wide", "--file-header", "--program-headers", "--dynamic", file.name, env={**os.environ, "LC_ALL": "C"}).decode()
    machine = next((a for m, a in MACHINES.items() if re.search(rf"Machine: .*{m}", said)), None)
    interpreter = re.search(r"program interpreter: (\S+)\]", said)
    return {
        "machine": machine or fail("a program is neither for x86-64 nor for AArch64"),
        "loader": interpreter and interpreter[1],
        "needed": re.findall(r"\(NEEDED\).*\[(.+)\]", said),
    }


def debian_layer(packages: list[dict], archives: list[Path], programs: Tree) -> Tree:
    """What the programs need of Debian, found by asking each file for its libraries, and theirs."""
    tree: Tree = {}
    contents = {package["name"]: unpacked(archive) for package, archive in zip(packages, archives)}
    everything: Tree = {path: entry for content in contents.values() for path, entry in content.items()}
    owner = {path: name for name, content in contents.items() for path in content}

    for folder, mode in {"etc": 0o755, "proc": 0o555, "sys": 0o555, "dev": 0o755, "run": 0o755, "tmp": 0o1777}.items():
        add(tree, folder, Entry(mode))
    for folder in ("bin", "lib", "lib64", "sbin"):
        add(tree, folder, Entry(0o777, link=f"usr/{folder}"))
        add(tree, f"usr/{folder}", Entry())

    used = set()
    asked = [programs[f"usr/bin/{name}"].content for name in PROGRAMS]
    while asked:
        wants = elf(asked.pop())
        paths = [wants["loader"].removeprefix("/")] if wants["loader"] else []
        for library in wants["needed"]:
            at = sorted(path for path in everything if re.fullmatch(rf"usr/lib/(.+-linux-gnu/)?{re.escape(library)}", path))
            paths.append(at[0] if at else fail(f"{library} is needed, and none of {', '.join(PACKAGES)} has it"))
        while paths:
            path = re.sub(r"^(lib|lib64)/", r"usr/\1/", paths.pop())
            if path in tree:
                continue
            entry = everything.get(path) or fail(f"/{path} is needed, and none of {', '.join(PACKAGES)} has it")
            add(tree, path, entry)
            used.add(owner[path])
            if entry.link:
                paths.append(os.path.normpath(os.path.join("/" + os.path.dirname(path), entry.link)).removeprefix("/"))
            else:
                asked.append(entry.content)
    unused = {name for name in PACKAGES if name.startswith("lib")} - used
    if unused:
        fail(f"nothing needs {', '.join(sorted(unused))}: take it off the list")

    for path, entry in everything.items():
        if path.startswith(KEPT):
            add(tree, path, entry)
    for package, archive in zip(packages, archives):
        name = package["name"]
        documents = f"usr/share/doc/{name}"
        copyright_at = documents if documents in contents[name] else f"{documents}/copyright"
        add(tree, copyright_at, contents[name].get(copyright_at) or fail(f"{name} has no copyright"))
        # Where scanners look for the packages of an image that has no package manager.
        text(tree, f"var/lib/dpkg/status.d/{name}", run("dpkg-deb", "--field", str(archive)).decode())

    # A folder by subjects' hashes, of which OpenSSL reads what it needs; a bundle would be parsed, and held, whole by each connection.
    roots = [entry.content for path, entry in sorted(everything.items()) if path.startswith(CERTIFICATES) and path.endswith(".crt")]
    if len(roots) < 100:
        fail(f"ca-certificates has only {len(roots)} certificates")
    of_hash: dict[str, int] = {}
    for root in roots:
        name = run("openssl", "x509", "-noout", "-subject_hash", input=root).decode().strip()
        number = of_hash.get(name, 0)
        of_hash[name] = number + 1
        add(tree, f"{ROOTS}/{name}.{number}", Entry(0o644, root.rstrip(b"\n") + b"\n"))
    # Where OpenSSL looks by itself.
    add(tree, "usr/lib/ssl/certs", Entry(0o777, link=f"/{ROOTS}"))

    text(
        tree,
        "etc/passwd",
        f"root:x:0:0:root:/:/nonexistent\nnonroot:x:{NONROOT}:{NONROOT}:nonroot:/nonexistent:/nonexistent\n",
    )
    text(tree, "etc/group", f"root:x:0:\nnonroot:x:{NONROOT}:\n")
    text(tree, "etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
    return tree


# --- The programs -------------------------------------------------------------------------------------------------------------------


def programs_layer(binaries: Path, strip: bool) -> tuple[Tree, str]:
    tree: Tree = {}
    for name in PROGRAMS:
        built = binaries / name
        if not built.is_file():
            fail(f"{built} is missing: build it first")
        content = built.read_bytes()
        if strip:
            with tempfile.NamedTemporaryFile() as file:
                run("objcopy", "--strip-debug", str(built), file.name)
                content = Path(file.name).read_bytes()
        add(tree, f"usr/bin/{name}", Entry(0o755, content))
    architecture = elf(tree["usr/bin/pcf-operator"].content)["machine"]
    text(tree, f"usr/share/doc/{NAME}/LICENSE", (HERE / "LICENSE").read_text())
    text(tree, f"usr/share/doc/{NAME}/THIRD-PARTY", image_sbom.notices(architecture))
    return tree, architecture


# --- The image ----------------------------------------------------------------------------------------------------------------------


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def as_json(value) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def as_tar(tree: Tree, epoch: int) -> bytes:
    """Nothing in it depends on who makes it, when, or in which order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, entry in sorted(tree.items()):
            member = tarfile.TarInfo(path)
            member.mtime, member.mode = epoch, entry.mode
            if entry.mode & 0o6000:
                fail(f"{path} is setuid or setgid")
            if entry.content is not None:
                member.size = len(entry.content)
                tar.addfile(member, io.BytesIO(entry.content))
            else:
                member.type = tarfile.SYMTYPE if entry.link else tarfile.DIRTYPE
                member.linkname = entry.link or ""
                tar.addfile(member)
    return out.getvalue()


class Layout:
    """An OCI image layout that grows: https://github.com/opencontainers/image-spec/blob/main/image-layout.md"""

    def __init__(self):
        self.tree: Tree = {}
        text(self.tree, "oci-layout", '{"imageLayoutVersion":"1.0.0"}')

    def blob(self, media_type: str, content: bytes) -> dict:
        digest = sha256(content)
        add(self.tree, f"blobs/sha256/{digest}", Entry(0o644, content))
        return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{digest}", "size": len(content)}


def image(layers: list[tuple[str, Tree]], architecture: str, version: str, revision: str, epoch: int) -> tuple[Layout, dict]:
    layout, created = Layout(), image_sbom.timestamp(epoch)
    labels = {
        "org.opencontainers.image.title": TITLE,
        "org.opencontainers.image.description": "Fails Persistent Chat over between data centres",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.revision": revision,
        "org.opencontainers.image.source": image_sbom.repository(),
        "org.opencontainers.image.documentation": f"{image_sbom.repository()}/blob/main/README.md",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.created": created,
    }
    tars = [as_tar(tree, epoch) for _, tree in layers]
    config = {
        "architecture": architecture,
        "os": "linux",
        "created": created,
        "config": {
            "User": f"{NONROOT}:{NONROOT}",
            "Entrypoint": ["/usr/bin/pcf-operator"],
            "Cmd": ["run"],
            "WorkingDir": "/",
            # Both TLS libraries heed it; who brings other roots sets it anew, or adds some with SSL_CERT_FILE.
            # One arena: many short looks leave each of several in pieces.
            "Env": ["PATH=/usr/bin", f"SSL_CERT_DIR=/{ROOTS}", "MALLOC_ARENA_MAX=1"],
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(tar)}" for tar in tars]},
        "history": [{"created": created, "created_by": what} for what, _ in layers],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.blob("config.v1+json", as_json(config)),
        "layers": [layout.blob("layer.v1.tar+gzip", gzip.compress(tar, 9, mtime=0)) for tar in tars],
        "annotations": labels,
    }
    described = layout.blob("manifest.v1+json", as_json(manifest))
    reference = f"{NAME}:{version}"
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                **described,
                "platform": {"architecture": architecture, "os": "linux"},
                "annotations": {"org.opencontainers.image.ref.name": reference},
            }
        ],
    }
    text(layout.tree, "index.json", as_json(index).decode())
    # What `docker load` reads that knows no OCI layouts. Only the tar has it.
    legacy = {
        "Config": f"blobs/sha256/{manifest['config']['digest'][7:]}",
        "RepoTags": [reference],
        "Layers": [f"blobs/sha256/{layer['digest'][7:]}" for layer in manifest["layers"]],
    }
    whole = {**layout.tree, "manifest.json": Entry(0o644, as_json([legacy]))}
    text(layout.tree, "digest", described["digest"] + "\n")
    add(layout.tree, f"{NAME}.tar", Entry(0o644, as_tar(whole, epoch)))
    return layout, described


def write(tree: Tree, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    for path, entry in sorted(tree.items()):
        at = out / path
        at.parent.mkdir(parents=True, exist_ok=True)
        if entry.link:
            at.symlink_to(entry.link)
        elif entry.content is None:
            at.mkdir(exist_ok=True)
        else:
            at.write_bytes(entry.content)
        if not entry.link:
            at.chmod(entry.mode)


def files(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): sha256(f.read_bytes()) for f in sorted(folder.rglob("*")) if f.is_file()}


def check(arguments: argparse.Namespace) -> None:
    """Builds again, in another process with another clock zone, mask and language, and compares every byte."""
    first = files(arguments.out)
    if "packages.json" not in first:
        fail(f"no image in {arguments.out}: build it first")
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / "image"
        options = ["--profile", arguments.profile, "--binaries", str(arguments.binaries), "--out", str(again)]
        options += ["--packages", str(arguments.out / "packages.json")]
        run(
            sys.executable,
            __file__,
            *options,
            env={**os.environ, "TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7"},
            preexec_fn=lambda: os.umask(0o077),
        )
        second = files(again)
    for path in sorted(first.keys() | second.keys()):
        if first.get(path) != second.get(path):
            fail(f"{path} differs between two builds: {first.get(path)}, {second.get(path)}")
    print(f"equal to the byte when built again: {len(first)} files, {(arguments.out / 'digest').read_text().strip()}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    target = target if target.is_absolute() else HERE / target
    parser.add_argument("--profile", choices=("production", "debug"), default="production", help="which programs; those of debug are stripped")
    parser.add_argument("--binaries", type=Path, help="the folder of the programs (default: the profile's in the target folder)")
    parser.add_argument("--out", type=Path, default=target / "image", help="the folder to write; what was there is removed")
    parser.add_argument("--packages", type=Path, help="a packages.json: takes exactly these packages of Debian, not the newest")
    parser.add_argument("--rootfs", type=Path, help="writes the image's files there, and makes no image (for the Containerfile)")
    parser.add_argument("--check", action="store_true", help="builds what is in --out again and compares every byte")
    arguments = parser.parse_args()
    arguments.binaries = arguments.binaries or target / arguments.profile
    # Beside the image, not in it: the image's folder is removed for each build, the packages are kept for the next one.
    arguments.work = target / "image-work"
    return arguments


def main() -> None:
    arguments = parse()
    if arguments.check:
        check(arguments)
        return
    programs, architecture = programs_layer(arguments.binaries, strip=arguments.profile == "debug")
    debian = Debian(arguments.work.resolve(), architecture)
    if arguments.packages:
        packages = json.loads(arguments.packages.read_text())
        if [package["name"] for package in packages] != sorted(PACKAGES):
            fail(f"{arguments.packages} names other packages than {', '.join(sorted(PACKAGES))}")
    else:
        packages = [debian.newest(name) for name in sorted(PACKAGES)]
    base = debian_layer(packages, [debian.archive(package) for package in packages], programs)
    if arguments.rootfs:
        write({**base, **programs}, arguments.rootfs)
        return

    git = lambda *command: run("git", *command).decode().strip()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct"))
    revision = git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain") else "")
    version = image_sbom.version()
    layers = [(f"Debian {RELEASE}: what the programs need", base), (TITLE, programs)]
    layout, described = image(layers, architecture, version, revision, epoch)
    text(layout.tree, "packages.json", json.dumps(packages, indent=2) + "\n")
    document = image_sbom.document(
        image_name=NAME,
        image_digest=described["digest"],
        architecture=architecture,
        epoch=epoch,
        packages=[{**package, "licence": PACKAGES[package["name"]]} for package in packages],
        programs={path: programs[path].content for path in (f"usr/bin/{name}" for name in PROGRAMS)},
    )
    text(layout.tree, "sbom.spdx.json", json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    write(layout.tree, arguments.out)
    size = sum(len(e.content) for p, e in layout.tree.items() if p.startswith("blobs/") and e.content)
    print(f"{arguments.out}: {NAME}:{version} for {architecture}, {size / 1e6:.1f} MB compressed, {described['digest']}")


if __name__ == "__main__":
    main()
