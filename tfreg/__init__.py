"""tfreg: linear and deformable registration of 3D medical volumes in one forward pass."""

__version__ = "0.1.0"

# Imported when first used: `import tfreg` and the command line stay quick.
_HOMES = {
    "Transform": "tfreg.transforms.transform",
    "Volume": "tfreg.volumes.volume",
    "load_run": "tfreg.registration.trained_run",
    "load_transform": "tfreg.io.transform_archive",
    "read_volume": "tfreg.io.formats",
    "register": "tfreg.registration.register_volumes",
    "write_volume": "tfreg.io.formats",
}

__all__ = sorted(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'tfreg' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
