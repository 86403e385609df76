// Import of files that Python's torch.save wrote.
#pragma once

#include <cairn/state.h>

#include <filesystem>
#include <string>

namespace cairn {

/// Opens a .pt file as the state of one recoverable, ready for `Store::save`. Nothing of it is run.
///
/// Both formats of torch.save are read, that of today (a ZIP archive) and the legacy one. The file
/// must hold plain state: tensors, dicts, lists, tuples, numbers, text and None, such as a
/// `state_dict()` or a dict of several. A tensor's key is the path of dict keys and list positions
/// to it, joined by '.'; a tensor alone is called "tensor". Everything else becomes values under
/// the same paths, whole lists and dicts without tensors as one; None is left out.
/// Tensors are read from the file while they are saved, so memory stays bounded by the pickle,
/// whatever the tensors' size; tied ones have the same bytes and are stored once.
/// Errors: not_found; io; damaged, truncated (malformed; with path and offset);
/// invalid_argument (what is no plain state, naming it; keys that are neither text nor numbers;
/// big-endian; sparse or quantized tensors, which need functions that are refused).
/// Source: PyTorch, torch/serialization.py.
RecoverableState read_torch_file(const std::filesystem::path& file, std::string recoverable);

/// Whether a file begins as one of torch.save does. Errors: not_found; io.
bool looks_like_torch_file(const std::filesystem::path& file);

}  // namespace cairn
