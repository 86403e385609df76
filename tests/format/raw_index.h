// An index payload open to every contradiction: what the encoder would refuse to write.
#pragma once

#include "format/index.h"
#include "format/pack_generated.h"
#include "format/payload.h"
#include "format/value_codec.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace cairn::format {

/// A vector whose elements are only 4-byte aligned, which the FlatBuffers verifier lets pass.
template <typename Offset, typename T>
Offset misaligned_vector(flatbuffers::FlatBufferBuilder& builder, const std::vector<T>& items) {
  const std::size_t words = items.size() * sizeof(T) / 4;
  const auto write = [&] {
    builder.StartVector(words, 4);
    builder.PushBytes(reinterpret_cast<const std::uint8_t*>(items.data()), words * 4);
  };
  builder.Align(8);
  if (words % 2 == 0) builder.PushElement<std::uint32_t>(0);
  write();
  return Offset(builder.EndVector(items.size()));
}

struct RawRecoverable {
  std::string name{};
  std::vector<fb::Tensor> tensors{};
  std::string keys{};
  std::vector<std::int64_t> dims{};
  MetaValue::Map values{};
};

struct RawIndex {
  std::uint64_t id = 0;
  std::uint64_t sequence = 0;
  std::string name{};
  std::int64_t created_unix_ns = 0;
  Metadata meta{};
  std::vector<RawRecoverable> recoverables{};
  std::vector<fb::Chunk> chunks{};
  bool misaligned_chunks = false;
  bool misaligned_dims = false;

  explicit RawIndex(const Index& index)
      : id(index.id),
        sequence(index.sequence),
        name(index.name),
        created_unix_ns(index.created_unix_ns),
        meta(index.meta) {
    for (const ChunkRef& chunk : index.chunks) {
      chunks.emplace_back(copy_digest<fb::Digest>(chunk.id), chunk.offset, chunk.plain_bytes,
                          chunk.stored_bytes, static_cast<std::uint8_t>(chunk.encoding), 0);
    }
    for (const IndexRecoverable& from : index.recoverables) {
      RawRecoverable& to = recoverables.emplace_back();
      to.name = from.name;
      to.values = from.values;
      for (const IndexTensor& tensor : from.tensors) {
        to.tensors.emplace_back(static_cast<std::uint16_t>(tensor.key.size()),
                                static_cast<std::uint8_t>(tensor.dtype),
                                static_cast<std::uint8_t>(tensor.shape.size()), 0,
                                tensor.first_chunk, tensor.offset_in_chunk);
        to.keys += tensor.key;
        to.dims.insert(to.dims.end(), tensor.shape.begin(), tensor.shape.end());
      }
    }
  }

  std::vector<std::byte> payload() const {
    flatbuffers::FlatBufferBuilder builder;
    using Chunks = flatbuffers::Offset<flatbuffers::Vector<const fb::Chunk*>>;
    const auto chunk_list = misaligned_chunks ? misaligned_vector<Chunks>(builder, chunks)
                                              : builder.CreateVectorOfStructs(chunks);
    std::vector<flatbuffers::Offset<fb::Recoverable>> offsets;
    for (const RawRecoverable& recoverable : recoverables) {
      offsets.push_back(build(builder, recoverable));
    }
    const auto list = builder.CreateVector(offsets);
    const auto meta_table = encode_values(builder, meta.map());
    const auto text = builder.CreateString(name);
    return finish(
        builder,
        fb::CreateIndex(builder, id, sequence, text, created_unix_ns, meta_table, list, chunk_list),
        "CNIX");
  }

 private:
  flatbuffers::Offset<fb::Recoverable> build(flatbuffers::FlatBufferBuilder& builder,
                                             const RawRecoverable& recoverable) const {
    using Dims = flatbuffers::Offset<flatbuffers::Vector<std::int64_t>>;
    const auto text = builder.CreateString(recoverable.name);
    const auto tensors = builder.CreateVectorOfStructs(recoverable.tensors);
    const auto keys = builder.CreateVector(
        reinterpret_cast<const std::uint8_t*>(recoverable.keys.data()), recoverable.keys.size());
    const auto dims = misaligned_dims ? misaligned_vector<Dims>(builder, recoverable.dims)
                                      : builder.CreateVector(recoverable.dims);
    const auto values = encode_values(builder, recoverable.values);
    return fb::CreateRecoverable(builder, text, tensors, keys, dims, values);
  }
};

}  // namespace cairn::format
