// States to save, and what a checkpoint gives back of them.
#pragma once

#include <cairn/checkpoint.h>
#include <cairn/error.h>
#include <cairn/state.h>
#include <cairn/store.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cairn::testing {

using Bytes = std::vector<std::byte>;

/// Bytes that differ for every seed, and do not repeat within.
Bytes pattern(std::uint64_t seed, std::size_t bytes);

/// The same of 16 values only, so that they take about half when compressed.
Bytes coarse_pattern(std::uint64_t seed, std::size_t bytes);

/// A tensor of u8 that owns its bytes.
TensorInput tensor(std::string key, Bytes bytes);
TensorInput tensor(std::string key, DType dtype, std::vector<std::int64_t> shape, Bytes bytes);

/// One recoverable "model" with the given tensors.
CheckpointState model(std::vector<TensorInput> tensors);

/// A model of `count` tensors of `bytes` bytes each, all from one seed.
CheckpointState model_of(std::uint64_t seed, std::size_t count, std::size_t bytes);

/// Bytes of every tensor, as "recoverable/key" -> bytes.
using Contents = std::map<std::string, Bytes>;
Contents contents(const CheckpointState& state);
Contents contents(const Checkpoint& checkpoint);

/// Name and contents of every checkpoint of a store.
std::map<std::string, Contents> everything(const Store& store);

/// The `Error` that `call` throws, or a failure of the test.
Error error_of(const std::function<void()>& call);

/// Flips all bits of one byte of a file.
void flip_byte(const std::filesystem::path& file, std::uint64_t offset);
/// Offsets of both copies of the newest root of a pack.
std::pair<std::uint64_t, std::uint64_t> newest_root(const std::filesystem::path& pack);
/// Where the slot of the newest root stands.
std::uint64_t newest_slot(const std::filesystem::path& pack);
/// A whole file, and how to put it back.
Bytes read_file(const std::filesystem::path& file);
void write_file(const std::filesystem::path& file, const Bytes& bytes);

}  // namespace cairn::testing
