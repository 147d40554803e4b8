"""DICOM, checked before its pixels are used."""
