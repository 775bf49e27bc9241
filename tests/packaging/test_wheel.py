"""The wheel: what is in it, and that it works where nothing of the checkout is."""

import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("v1", "wire", "core", "hsm", "server", "client", "reencryption", "cli")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(build, check=True, timeout=120, capture_output=True, text=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="session")
def clean_python(wheel, tmp_path_factory):
    """A new environment with the wheel; the dependencies come from this environment's own folder, so that nothing is downloaded."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", wheel]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *install], check=True, timeout=120)
    # Only the dependencies: the editable install of this checkout is a .pth file, and nested .pth files are not read.
    site = next((folder / "lib").glob("python*")) / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_it_holds_every_package_and_nothing_else_at_the_top(names):
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"hsmkms"}
    assert {name.split("/")[1] for name in names if name.startswith("hsmkms/")} == set(PACKAGES)
    assert "hsmkms/__init__.py" not in names, "hsmkms is a namespace package"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed(names, package):
    assert f"hsmkms/{package}/py.typed" in names


def test_it_holds_everything_beside_the_modules(names):
    sources = [path for root in ("proto", "hsm", "server", "client") for path in (ROOT / root / "hsmkms").rglob("*")]
    expected = {
        path.relative_to(ROOT).as_posix().split("/", 1)[1]
        for path in sources
        if path.is_file() and path.suffix != ".pyc" and "__pycache__" not in path.parts
    }
    assert expected <= names
    assert any(name.startswith("hsmkms/server/catalog/") and "/versions/" in name for name in names), "the migrations"


def test_its_licence_comes_with_it(names):
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_command_works_in_a_clean_environment(clean_python, tmp_path):
    help_text = subprocess.run(
        [clean_python.with_name("hsm-kms"), "--help"],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    ).stdout
    assert "re-encrypt" in help_text


def test_every_package_is_imported_from_the_wheel(clean_python, tmp_path):
    program = "import importlib, sys; print(*(importlib.import_module('hsmkms.' + p).__path__[0] for p in sys.argv[1:]), sep='\\n')"
    done = subprocess.run(
        [clean_python, "-c", program, *PACKAGES], check=True, timeout=60, capture_output=True, text=True, cwd=tmp_path
    )
    prefix = str(clean_python.parent.parent)
    assert all(path.startswith(prefix) for path in done.stdout.splitlines()), done.stdout


def test_its_version_is_the_projects(wheel):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert wheel.name == f"hsm_kms-{version}-py3-none-any.whl"
