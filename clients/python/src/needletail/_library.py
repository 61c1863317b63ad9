"""libneedletail through ctypes: the declarations of its header, and errors as exceptions. No numpy."""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, Structure, c_bool, c_char, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any

from .errors import BundleRefused, NeedletailError, error_for_status

#: The binary interface that these declarations are of.
NAME = "libneedletail.so.0"
#: Variable of the environment that names the library, where the system's loader would not find it.
VARIABLE = "NEEDLETAIL_LIBRARY"
#: Codes from here on are reasons why a bundle was not opened; those below are the protocol's.
_BUNDLE_CODES = 100

FLOAT32, FLOAT64, INT64, STRING = 1, 2, 6, 9


class Error(Structure):
    _fields_ = [("code", c_int), ("message", c_char * 1024)]


class Text(Structure):
    _fields_ = [("bytes", c_void_p), ("length", c_size_t)]

    def __str__(self) -> str:
        return ctypes.string_at(self.bytes, self.length).decode() if self.length else ""


class Options(Structure):
    _fields_ = [
        ("trust_file", c_char_p),
        ("allow_unsigned", c_bool),
        ("model", c_char_p),
        ("version", c_uint64),
        ("threads", c_uint32),
        ("rows_per_run", c_uint32),
    ]


class Feature(Structure):
    _fields_ = [
        ("name", Text),
        ("type", c_int),
        ("optional", c_bool),
        ("text", c_bool),
        ("categories", POINTER(Text)),
        ("category_count", c_size_t),
        ("description", Text),
    ]


class OutputInfo(Structure):
    _fields_ = [("name", Text), ("type", c_int), ("columns", c_size_t)]


class Metric(Structure):
    _fields_ = [("name", Text), ("value", ctypes.c_double)]


class Fact(Structure):
    _fields_ = [("name", Text), ("value", Text)]


class Description(Structure):
    _fields_ = [
        ("model", Text),
        ("version", c_uint64),
        ("task", Text),
        ("features", POINTER(Feature)),
        ("feature_count", c_size_t),
        ("outputs", POINTER(OutputInfo)),
        ("output_count", c_size_t),
        ("labels", POINTER(Text)),
        ("label_count", c_size_t),
        ("digest", Text),
        ("signer", Text),
        ("created_ms", c_uint64),
        ("metrics", POINTER(Metric)),
        ("metric_count", c_size_t),
        ("lineage", POINTER(Fact)),
        ("lineage_count", c_size_t),
        ("precision", Text),
        ("isa", Text),
        ("plan", POINTER(Text)),
        ("plan_count", c_size_t),
        ("plan_choice", Text),
        ("resident_bytes", c_size_t),
        ("context_bytes", c_size_t),
        ("rows_max", c_size_t),
        ("text_bytes_max", c_size_t),
        ("threads", c_uint32),
    ]


class Tensor(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("name_length", c_size_t),
        ("type", c_int),
        ("shape", POINTER(c_uint64)),
        ("rank", c_size_t),
        ("data", c_void_p),
        ("data_bytes", c_size_t),
        ("texts", c_void_p),
        ("text_count", c_size_t),
    ]


class Output(Structure):
    _fields_ = [("index", c_size_t), ("values", c_void_p), ("capacity", c_size_t)]


class Library:
    """The functions of the library. Their arguments are ctypes values, which are passed on as they are."""

    def __init__(self, path: str | None) -> None:
        name = path or os.environ.get(VARIABLE) or NAME
        try:
            # CDLL lets other threads run during a call.
            library = ctypes.CDLL(name)
        except OSError as error:
            raise OSError(f"{error}; deploy/library installs it, and {VARIABLE} says where it lies") from None
        self.open = self._function(library, "ntl_open", c_int)
        self.describe = self._function(library, "ntl_describe", POINTER(Description))
        self.find_output = self._function(library, "ntl_find_output", c_int)
        self.close = self._function(library, "ntl_close", None)
        self.context_new = self._function(library, "ntl_context_new", c_int)
        self.context_free = self._function(library, "ntl_context_free", None)
        self.predict = self._function(library, "ntl_predict", c_int)
        self.predict_rows = self._function(library, "ntl_predict_rows", c_int)
        self._code_name = self._function(library, "ntl_code_name", c_char_p)

    @staticmethod
    def _function(library: ctypes.CDLL, name: str, result: Any) -> Any:
        function = getattr(library, name)
        function.restype = result
        return function

    def error(self, error: Error) -> NeedletailError:
        """The exception for what a call wrote."""
        message = error.message.decode()
        if error.code < _BUNDLE_CODES:
            return error_for_status(error.code, message)
        return BundleRefused(message, reason=self._code_name(error.code).decode().lower())


_libraries: dict[str | None, Library] = {}


def library(path: str | None) -> Library:
    """The library, loaded once."""
    found = _libraries.get(path)
    if found is None:
        found = _libraries[path] = Library(path)
    return found
