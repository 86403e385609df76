// Import and export of safetensors files.
#pragma once

#include <cairn/checkpoint.h>
#include <cairn/progress.h>
#include <cairn/state.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

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
  ProgressCallback progress = {};
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

/// Opens a safetensors file in shards by its index, "model.safetensors.index.json", the same way.
///
/// The shards lie beside the index. What it and they say must agree: every tensor is in the shard
/// that the index names, and no other is there. The metadata of the shards become the value
/// "__metadata__" (an entry on which they differ once for each, as "SHARD:KEY"), those of the index
/// the value "__index_metadata__".
/// Errors: as above, and not_found (shards, all of them listed); damaged for an index that breaks
/// the format, names what is no file beside it, or differs from the shards, with the tensors
/// listed; invalid_argument (more than 4096 shards).
RecoverableState read_sharded_safetensors(const std::filesystem::path& index,
                                          std::string recoverable);

/// Whether a file is JSON text, as the index of shards is. Errors: not_found; io.
bool looks_like_safetensors_index(const std::filesystem::path& file);

/// Writes the same as shards of at most `shard_bytes` of tensors each (a larger tensor has one of
/// its own): for "model.safetensors" "model-00001-of-00003.safetensors" and so on, and
/// "model.safetensors.index.json". Returns the paths, the index first.
///
/// Durability: the index appears last and flushed. An old one goes before the first shard appears;
/// a kill may leave shards without an index, a failure before that leaves nothing.
/// Errors: as above.
std::vector<std::filesystem::path> write_sharded_safetensors(
    const Checkpoint& checkpoint, const std::filesystem::path& file, std::uint64_t shard_bytes,
    const SafetensorsExportOptions& options = {});

}  // namespace cairn
