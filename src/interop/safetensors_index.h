// The index of a sharded safetensors file: text in, checked names out, and back. No I/O.
//
//   {"metadata": {"total_size": 16, ...}, "weight_map": {TENSOR: FILE, ...}}
//
// FILE lies in the index's own directory and holds the tensor under the same name.
//
// Source: Hugging Face's transformers and huggingface_hub, which write and read them
// ("model.safetensors.index.json"; huggingface_hub/serialization).
#pragma once

#include <cairn/meta_value.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace cairn::interop {

/// A million tensors with names of 60 bytes fit.
constexpr std::uint64_t kMaxIndexBytes = std::uint64_t{128} << 20;
/// Each shard is an open file until the save has returned.
constexpr std::size_t kMaxShards = 4096;
/// The value that keeps the index's own metadata.
constexpr std::string_view kIndexMetadataKey = "__index_metadata__";
/// The metadata that every export counts anew.
constexpr std::string_view kTotalSizeKey = "total_size";

struct SafetensorsIndex {
  MetaValue::Map metadata = {};
  std::map<std::string, std::string> shard_of = {};  ///< By the tensor's name.
};

/// Decodes and checks an index. Names of shards are names of files, without any directory.
/// Errors, all with `file` as their path: damaged.
SafetensorsIndex parse_safetensors_index(std::string_view text, const std::filesystem::path& file);

/// Encodes one. Metadata that JSON cannot hold (bytes, NaN) is left out.
std::string format_safetensors_index(const SafetensorsIndex& index);

}  // namespace cairn::interop
