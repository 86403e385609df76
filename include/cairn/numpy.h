// Export to NumPy's files.
#pragma once

#include <cairn/checkpoint.h>
#include <cairn/progress.h>

#include <filesystem>
#include <string>

namespace cairn {

/// What stands before a tensor's bytes in a .npy file, version 1.0 of that format.
///
/// A dtype that NumPy lacks is written as raw elements of its width, as the package ml_dtypes does:
/// bf16 as "V2", f8 of any kind as "V1", c32 as "V4"; `array.view(ml_dtypes.bfloat16)` gives the
/// numbers back, `array.view("u2")` their bits.
/// Errors: invalid_argument (elements of less than a byte).
/// Source: numpy/lib/format.py.
std::string npy_header(const TensorInfo& tensor);

struct NumpyExportOptions {
  std::string recoverable = {};  ///< Only this one, keys as they are. Empty: all.
  bool overwrite = true;         ///< Replace an existing file.
  ProgressCallback progress = {};
};

/// Writes tensors of a checkpoint as a .npz file, verified, in bounded memory.
///
/// The file is a ZIP archive without compression, in ZIP64 where it has to be; `numpy.load` gives
/// tensors by the names that `write_safetensors` gives them. Values stay behind.
/// Durability: the file appears under its name complete and flushed, or not at all.
/// Errors: not_found (the recoverable); already_exists; invalid_argument (elements of less than a
/// byte, names of more than 65,531 bytes); damaged; no_space; io.
/// Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3 (ZIP64).
void write_npz(const Checkpoint& checkpoint, const std::filesystem::path& file,
               const NumpyExportOptions& options = {});

}  // namespace cairn
