// The header of a safetensors file: text in, checked tensors out, and back. No I/O.
//
//   8 bytes        n, the header's length, little-endian
//   n bytes        JSON: {"__metadata__": {string: string}, NAME: {"dtype", "shape",
//   "data_offsets"}} to the end     the data; tensors cover it without gaps and without overlaps
//
// Source: https://github.com/huggingface/safetensors, README, "Format", and its reader, tensor.rs.
#pragma once

#include <cairn/dtype.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::interop {

/// What readers accept at most; it keeps a hostile file from making them allocate.
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
/// Bytes before the header.
constexpr std::uint64_t kLengthBytes = 8;
/// The key that holds no tensor.
constexpr std::string_view kMetadataKey = "__metadata__";

struct SafetensorsEntry {
  std::string name = {};
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape = {};
  std::uint64_t begin = 0;  ///< Bytes from the start of the data.
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::optional<std::map<std::string, std::string>> metadata = std::nullopt;
  std::vector<SafetensorsEntry> entries = {};
};

/// The format's name of a dtype, or nothing when the format lacks it.
std::optional<std::string_view> safetensors_dtype_name(DType dtype) noexcept;

/// The order in which the format's own writer lays out tensors: by falling alignment of the dtype.
/// Meaningful only for dtypes that the format has.
int safetensors_dtype_rank(DType dtype) noexcept;

/// Decodes and checks a header; `data_bytes` is what the file holds after it. Entries come in the
/// order of their data. Memory: a small multiple of `text`, whatever it holds.
/// Errors, all with `file` as their path: truncated (the data ends early); damaged.
SafetensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t data_bytes,
                                           const std::filesystem::path& file);

/// Encodes a header, padded with spaces so that the data is aligned to 8 bytes. The entries must be
/// what `parse_safetensors_header` accepts.
std::string format_safetensors_header(const SafetensorsHeader& header);

}  // namespace cairn::interop
