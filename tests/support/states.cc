#include "support/states.h"

#include "pack/pack_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <utility>

namespace cairn::testing {

Bytes pattern(std::uint64_t seed, std::size_t bytes) {
  Bytes result(bytes);
  std::uint64_t state = seed * 0x9E3779B97F4A7C15ULL + 1;
  for (std::size_t i = 0; i < bytes; ++i) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    result[i] = static_cast<std::byte>(state >> 32);
  }
  return result;
}

Bytes coarse_pattern(std::uint64_t seed, std::size_t bytes) {
  Bytes result = pattern(seed, bytes);
  for (std::byte& byte : result) byte &= std::byte{0x0f};
  return result;
}

TensorInput tensor(std::string key, DType dtype, std::vector<std::int64_t> shape, Bytes bytes) {
  auto owned = std::make_shared<const Bytes>(std::move(bytes));
  TensorInput input;
  input.key = std::move(key);
  input.dtype = dtype;
  input.shape = std::move(shape);
  input.data = owned->data();
  input.owner = owned;
  return input;
}

TensorInput tensor(std::string key, Bytes bytes) {
  const auto length = static_cast<std::int64_t>(bytes.size());
  return tensor(std::move(key), DType::kU8, {length}, std::move(bytes));
}

CheckpointState model(std::vector<TensorInput> tensors) {
  CheckpointState state(1);
  state[0].name = "model";
  state[0].tensors = std::move(tensors);
  return state;
}

CheckpointState model_of(std::uint64_t seed, std::size_t count, std::size_t bytes) {
  std::vector<TensorInput> tensors;
  for (std::size_t i = 0; i < count; ++i) {
    tensors.push_back(tensor("layer." + std::to_string(i), pattern(seed * 1000 + i, bytes)));
  }
  return model(std::move(tensors));
}

Contents contents(const CheckpointState& state) {
  Contents result;
  for (const RecoverableState& recoverable : state) {
    for (const TensorInput& input : recoverable.tensors) {
      result[recoverable.name + "/" + input.key] =
          *std::static_pointer_cast<const Bytes>(input.owner);
    }
  }
  return result;
}

Contents contents(const Checkpoint& checkpoint) {
  Contents result;
  const auto tensors = checkpoint.tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    result[std::string(tensors[i].recoverable) + "/" + std::string(tensors[i].key)] =
        checkpoint.read(i);
  }
  return result;
}

std::map<std::string, Contents> everything(const Store& store) {
  std::map<std::string, Contents> result;
  for (const CheckpointInfo& info : store.checkpoints()) {
    result[info.name] = contents(store.open(info.id));
  }
  return result;
}

Error error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return Error(ErrorCode::kInvalidArgument, "no error");
}

void flip_byte(const std::filesystem::path& file, std::uint64_t offset) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(offset));
  const int byte = stream.get();
  ASSERT_NE(byte, std::char_traits<char>::eof()) << "no byte at " << offset;
  stream.seekp(static_cast<std::streamoff>(offset));
  stream.put(static_cast<char>(~byte));
}

std::pair<std::uint64_t, std::uint64_t> newest_root(const std::filesystem::path& pack) {
  const auto table = pack::PackFile::open(pack, io::File::Access::kRead).read_slots();
  const format::Slot* newest = table.newest_first().front();
  return {newest->root.first.offset, newest->root.second.offset};
}

std::uint64_t newest_slot(const std::filesystem::path& pack) {
  const auto table = pack::PackFile::open(pack, io::File::Access::kRead).read_slots();
  return format::kSlotOffsets.at(table.newest_first().front()->number);
}

Bytes read_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  Bytes bytes(std::filesystem::file_size(file));
  stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

void write_file(const std::filesystem::path& file, const Bytes& bytes) {
  std::ofstream stream(file, std::ios::binary | std::ios::trunc);
  stream.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
}

}  // namespace cairn::testing
