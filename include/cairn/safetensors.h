// Import and export of safetensors files.
#pragma once

#include <cairn/checkpoint.h>
#include <cairn/state.h>

#include <cstdint>
#include <filesystem>
#include <string>

namespace cairn {

/// Opens a safetensors file as the state of one recoverable, ready for `Store::save`.
///
/// The header is read and checked whole; tensors are read from the file while they are saved, so
/// memory stays bounded whatever the file's size. The file's `__metadata__` becomes the value
/// "__metadata__" (a map of strings).
/// Errors: not_found; io; truncated (the file ends early); damaged for anything that breaks the
/// format: a header of more than 100 MB, JSON that is malformed, nested too deep or has duplicate
/// keys, an unknown dtype, a size that contradicts shape and dtype, overlaps, gaps.
/// Source: the format's description, https://github.com/huggingface/safetensors (README, "Format").
RecoverableState read_safetensors(const std::filesystem::path& file, std::string recoverable);

struct SafetensorsExportOptions {
  std::string recoverable = {};  ///< Only this one, keys as they are. Empty: all.
  bool overwrite = true;         ///< Replace an existing file.
};

/// Writes tensors of a checkpoint as a safetensors file, verified, in bounded memory.
///
/// With one recoverable, or one named, tensors have their own keys; with several
/// "recoverable/key". Values other than "__metadata__" are not part of the format and stay behind.
/// Durability: the file appears under its name complete and flushed, or not at all.
/// Errors: not_found (the recoverable); already_exists; invalid_argument (a dtype that the format
/// lacks); damaged; no_space; io.
void write_safetensors(const Checkpoint& checkpoint, const std::filesystem::path& file,
                       const SafetensorsExportOptions& options = {});

}  // namespace cairn
