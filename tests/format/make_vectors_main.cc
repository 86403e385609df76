// Makes the golden vectors: make_vectors_main DIRECTORY writes DIRECTORY/valid, DIRECTORY/invalid
// and DIRECTORY/table.tsv. The same bytes each time.
#include "base/digest.h"
#include "base/little_endian.h"
#include "codec/grouped.h"
#include "fixed_parts.h"
#include "raw_index.h"
#include "vectors.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iterator>

namespace cairn::format {
namespace {

using Bytes = std::vector<std::byte>;

class Vectors {
 public:
  explicit Vectors(std::filesystem::path directory) : directory_(std::move(directory)) {
    for (const char* part : {"valid", "invalid"}) {
      std::filesystem::create_directories(directory_ / part);
    }
    table_ = "file\tkind\toutcome\toffset\txxh3_128\twhat\n";
  }

  void valid(const std::string& kind, const std::string& name, const Bytes& bytes,
             const std::string& what) {
    add("valid/" + kind + "-" + name, kind, bytes, what, true);
  }
  void invalid(const std::string& kind, const std::string& name, const Bytes& bytes,
               const std::string& what) {
    add("invalid/" + kind + "-" + name, kind, bytes, what, false);
  }

  void write_table() const { std::ofstream(directory_ / "table.tsv") << table_; }

 private:
  void add(const std::string& file, const std::string& kind, const Bytes& bytes,
           const std::string& what, bool expected) {
    const auto path = directory_ / file;
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    const VectorOutcome outcome = decode_vector(kind, bytes, path);
    if ((outcome.code == "ok") != expected) {
      std::fprintf(stderr, "%s: %s\n", file.c_str(), outcome.code.c_str());
      std::exit(1);
    }
    table_ += file + "\t" + kind + "\t" + outcome.code + "\t" + outcome.offset + "\t" +
              base::xxh3_128(bytes).to_hex() + "\t" + what + "\n";
  }

  std::filesystem::path directory_;
  std::string table_;
};

// ---- fixed parts ------------------------------------------------------------------------------

Superblock superblock() {
  return {.uuid = vectors_uuid(), .chunk_bytes = std::uint64_t{1} << 20};
}

void add_superblocks(Vectors& vectors) {
  const Bytes good = encode_superblock(superblock());
  vectors.valid("superblock", "plain", good, "chunks of 1 MiB");
  Superblock compatible = superblock();
  compatible.compat = 1;
  compatible.ro_compat = 2;
  vectors.valid("superblock", "unknown-features",
                with_byte(encode_superblock(compatible), 100, 7, kSuperblockBytes),
                "unknown compat and ro_compat bits, one of which uses a reserved byte");
  Superblock compressed = superblock();
  compressed.incompat = kIncompatCompressed;
  vectors.valid("superblock", "compressed", encode_superblock(compressed),
                "of a store that may hold compressed chunks");
  Bytes bytes = good;
  bytes[1] = std::byte{'c'};
  vectors.invalid("superblock", "magic", bytes, "another magic");
  bytes = good;
  bytes.erase(bytes.begin() + 6);
  vectors.invalid("superblock", "text-mode", bytes, "0D 0A has become 0A");
  vectors.invalid("superblock", "short", Bytes(good.begin(), good.begin() + 4095),
                  "a byte is missing");
  vectors.invalid("superblock", "digest", with_bit_flipped(good, 8 * 64), "a bit is flipped");
  const auto changed = [&](const char* name, std::size_t at, std::uint8_t value, const char* what) {
    vectors.invalid("superblock", name, with_byte(good, at, value, kSuperblockBytes), what);
  };
  changed("version-2", 16, 2, "format version 2");
  changed("version-0", 16, 0, "format version 0");
  changed("hash-2", 20, 2, "the hash algorithm that is reserved");
  changed("incompat", 40, 2, "an incompat bit that version 1 does not know");
  changed("alignment", 65, 0x20, "an alignment of 8192");
  changed("chunk-bytes", 72, 1, "a chunk size that is no multiple of 4096");
  changed("reserved", 100, 7, "a reserved byte, without a feature that may use it");
  changed("chunk-bytes-0", 74, 0, "a chunk size of 0");
  changed("chunk-bytes-high", 75, 8, "a chunk size of more than 67108864");
  changed("reserved-68", 68, 1, "the reserved byte behind the alignment");
  changed("hash-0", 20, 0, "hash algorithm 0");
  vectors.invalid("superblock", "zeros", Bytes(kSuperblockBytes), "nothing but zeros");
  vectors.invalid("superblock", "empty", {}, "no byte at all");
  vectors.invalid("superblock", "short-magic", Bytes(bytes.begin(), bytes.begin() + 10),
                  "10 bytes of superblock-text-mode");
}

Slot slot() {
  return {.number = 0,
          .sequence = 7,
          .parent_sequence = 6,
          .parent_digest = some_digest(6),
          .root = {.first = {131072, 300}, .second = {139264, 300}, .digest = some_digest(7)},
          .data_end = 143360};
}

void add_slots(Vectors& vectors) {
  const Bytes good = encode_slot(slot(), vectors_uuid());
  vectors.valid("slot", "plain", good, "slot 0 of commit 7");
  Slot first = slot();
  first.parent_sequence = 0;
  first.parent_digest = {};
  vectors.valid("slot", "no-parent", encode_slot(first, vectors_uuid()), "without a parent");
  vectors.invalid("slot", "torn", with_bit_flipped(good, 8 * 40), "a bit is flipped");
  const auto changed = [&](const char* name, std::size_t at, std::uint8_t value, const char* what) {
    vectors.invalid("slot", name, with_byte(good, at, value, kSlotBytes), what);
  };
  changed("number", 12, 1, "slot 1 in the place of slot 0");
  changed("uuid", 16, 9, "another store's");
  changed("parent", 40, 7, "the parent's sequence is its own");
  changed("unaligned", 64, 1, "the first root is not at a multiple of 4096");
  changed("overlap", 81, 0x21, "the copies of the root overlap");
  changed("end", 90, 0, "the roots lie behind the end of data");
  changed("reserved", 200, 1, "a reserved byte");
  changed("magic", 0, 0x88, "another magic");
  changed("version-2", 8, 2, "slot version 2");
  changed("version-0", 8, 0, "slot version 0");
  changed("end-high", 95, 0x80, "an end of data of more than 2^63 - 4096");
  changed("sequence-0", 32, 0, "sequence 0");
  changed("second-unaligned", 72, 1, "the second root is not at a multiple of 4096");
  changed("low", 66, 0x01, "the first root is before 131072");
  changed("root-bytes", 81, 0, "the root has 44 bytes, less than its header");
  changed("end-unaligned", 88, 1, "the end of data is no multiple of 4096");
  changed("second-low", 74, 0x01, "the second root is before 131072");
  changed("root-bytes-high", 87, 1, "a length of the root that overflows");
  Slot longest = slot();
  longest.root.first.bytes = longest.root.second.bytes = kRecordHeaderBytes + kMaxPayloadBytes;
  longest.root.second.offset = std::uint64_t{1} << 32;
  longest.data_end = std::uint64_t{1} << 33;
  const Bytes longest_root = encode_slot(longest, vectors_uuid());
  vectors.valid("slot", "longest-root", longest_root, "a root of 2147418240 bytes");
  vectors.invalid("slot", "root-bytes-max", with_byte(longest_root, 80, 0x81, kSlotBytes),
                  "a root of 2147418241 bytes");
  vectors.invalid("slot", "cut", Bytes(good.begin(), good.end() - 1), "a byte is missing");
  Slot orphan = slot();
  orphan.parent_sequence = 0;
  orphan.parent_digest = {};
  vectors.invalid("slot", "digest-of-no-parent",
                  with_byte(encode_slot(orphan, vectors_uuid()), 50, 1, kSlotBytes),
                  "a parent_digest without a parent");
}

void add_records(Vectors& vectors, const Bytes& index_payload, const Bytes& root_payload) {
  const auto record = [](RecordType type, const Bytes& payload) {
    return encode_record({.type = type, .own_offset = kDataBegin, .sequence = 7}, vectors_uuid(),
                         payload);
  };
  vectors.valid("index-record", "plain", record(RecordType::kIndex, index_payload), "at 131072");
  const Bytes good = record(RecordType::kRoot, root_payload);
  vectors.valid("root-record", "plain", good, "at 131072");
  vectors.invalid("index-record", "of-a-root", good, "a root where an index must be");
  const auto add = [&](const char* name, const Bytes& bytes, const char* what) {
    vectors.invalid("root-record", name, bytes, what);
  };
  add("header-cut", Bytes(good.begin(), good.begin() + 127), "127 bytes");
  add("payload-cut", Bytes(good.begin(), good.end() - 1), "a byte is missing");
  add("digest", with_bit_flipped(good, 8 * 40), "a bit of the header is flipped");
  add("payload", with_bit_flipped(good, 8 * 140), "a bit of the payload is flipped");
  const auto changed = [&](const char* name, std::size_t at, std::uint8_t value, const char* what) {
    add(name, with_byte(good, at, value, kRecordHeaderBytes), what);
  };
  changed("magic", 7, 0x0D, "another magic");
  changed("version-2", 8, 2, "record version 2");
  changed("type-3", 12, 3, "an unknown type");
  changed("uuid", 16, 9, "another store's");
  changed("offset", 33, 0x10, "written for another place");
  changed("sequence-0", 40, 0, "sequence 0");
  changed("length-0", 48, 0, "a length that is none of the payload's");
  changed("reserved", 80, 1, "a reserved byte");
  changed("version-0", 8, 0, "record version 0");
  changed("length-max", 55, 0x80, "a length of more than 2147418112");
}

// ---- index ------------------------------------------------------------------------------------

ChunkRef chunk_at(std::uint64_t offset, std::uint64_t bytes) {
  return {.id = some_digest(offset + bytes),
          .offset = offset,
          .plain_bytes = bytes,
          .stored_bytes = bytes};
}

Index empty_index() {
  return {.id = 3, .sequence = 7, .name = "epoch-3", .created_unix_ns = 1'700'000'000'000'000'000};
}

Index small_index() {
  Index index = empty_index();
  index.recoverables = {{.name = "model",
                         .tensors = {{.key = "bias", .shape = {4}},
                                     {.key = "weight", .shape = {4, 3}, .offset_in_chunk = 16}}},
                        {.name = "optimizer", .values = {{"lr", 0.025}}}};
  index.chunks = {chunk_at(131072, 64)};
  return index;
}

Index every_dtype() {
  Index index = empty_index();
  IndexRecoverable& model = index.recoverables.emplace_back();
  model.name = "model";
  std::uint64_t end = 0;
  for (std::uint8_t number = 1; const auto dtype = dtype_from_number(number); ++number) {
    // Keys that ascend: d01 to d24.
    std::string key = "d0" + std::to_string(number);
    if (number >= 10) key.erase(1, 1);
    model.tensors.push_back({.key = key,
                             .dtype = *dtype,
                             .shape = {8, 2},
                             .offset_in_chunk = static_cast<std::uint32_t>(end)});
    end += (2 * bits_per_element(*dtype) + 15) / 16 * 16;
  }
  model.tensors.push_back({.key = "empty", .dtype = DType::kI64, .shape = {2, 0}});
  model.tensors.push_back(
      {.key = "scalar", .dtype = DType::kF32, .offset_in_chunk = static_cast<std::uint32_t>(end)});
  index.chunks = {chunk_at(131072, end + 4)};
  return index;
}

Index cut_index() {
  Index index = empty_index();
  const ChunkRef zeros = chunk_at(139264, 65536);
  index.chunks = {chunk_at(131072, 100), zeros, zeros, chunk_at(204800, 10)};
  index.recoverables = {
      {.name = "model",
       .tensors = {{.key = "large", .dtype = DType::kU8, .shape = {131082}, .first_chunk = 1},
                   {.key = "small", .dtype = DType::kU8, .shape = {100}},
                   {.key = "tied", .dtype = DType::kU8, .shape = {131082}, .first_chunk = 1}}}};
  return index;
}

Metadata values_of_every_kind() {
  MetaValue deep = 1;
  for (int i = 0; i < MetaValue::kMaxDepth; ++i) deep = MetaValue::List{deep};
  return {{"", "empty key"},
          {"bool", true},
          {"bytes", MetaValue::Bytes{std::byte{0}, std::byte{255}}},
          {"deep", deep},
          {"double", 0.1},
          {"int", -1},
          {"list", MetaValue::List{1, 2.0, "three"}},
          {"map", MetaValue::Map{{"a", MetaValue::Map{}}}},
          {"minus zero", -0.0},
          {"string", "\xE2\x82\xAC"}};
}

// A list of a thousand offsets that all lead to one value.
Bytes shared_values() {
  flatbuffers::FlatBufferBuilder builder;
  fb::ValueBuilder one(builder);
  one.add_integer(1);
  one.add_kind(fb::ValueKind::Int);
  const auto item = one.Finish();
  const std::vector<flatbuffers::Offset<fb::Value>> same(1000, item);
  const auto items = builder.CreateVector(same);
  fb::ValueBuilder list(builder);
  list.add_items(items);
  list.add_kind(fb::ValueKind::List);
  const auto lists = builder.CreateVector(std::vector{list.Finish()});
  const auto lengths = builder.CreateVector(std::vector<std::uint32_t>{1});
  const std::uint8_t key[] = {'k'};
  const auto keys = builder.CreateVector(key, 1);
  fb::ValueBuilder map(builder);
  map.add_items(lists);
  map.add_keys(keys);
  map.add_key_lengths(lengths);
  map.add_kind(fb::ValueKind::Map);
  const auto meta = map.Finish();
  const auto name = builder.CreateString("shared");
  return finish(builder, fb::CreateIndex(builder, 3, 7, name, 0, meta), "CNIX");
}

void invalid_index(Vectors& vectors, const char* name, const std::function<void(RawIndex&)>& change,
                   const char* what) {
  RawIndex changed(small_index());
  change(changed);
  vectors.invalid("index", name, changed.payload(), what);
}

fb::Chunk raw_chunk(std::uint64_t offset, std::uint64_t plain, std::uint64_t stored,
                    std::uint8_t encoding, std::uint32_t flags) {
  return {copy_digest<fb::Digest>(some_digest(offset)), offset, plain, stored, encoding, flags};
}

void add_indexes(Vectors& vectors) {
  vectors.valid("index", "empty", encode_index(empty_index()), "nothing but a name");
  vectors.valid("index", "small", encode_index(small_index()), "two tensors in one chunk, a value");
  vectors.valid("index", "dtypes", encode_index(every_dtype()), "every dtype, empty, rank 0");
  vectors.valid("index", "cut", encode_index(cut_index()),
                "large and tied tensors, a chunk listed twice");
  Index index = empty_index();
  index.meta = values_of_every_kind();
  vectors.valid("index", "values", encode_index(index), "metadata of every kind, 16 deep");

  // What the invalid ones below are changed from: it must be nothing but the change that is
  // refused.
  vectors.valid("index", "by-hand", RawIndex(small_index()).payload(),
                "index-small with empty vectors, one of them not aligned");
  const Bytes good = encode_index(small_index());
  vectors.invalid("index", "identifier", with_bit_flipped(good, 8 * 4), "another identifier");
  vectors.invalid("index", "cut", Bytes(good.begin(), good.begin() + 100), "100 bytes of it");
  vectors.invalid("index", "offset", with_bit_flipped(good, 7), "the root table's offset");
  vectors.invalid("index", "shared", shared_values(), "1000 offsets that lead to one value");
  const auto raw = [&](const char* name, const std::function<void(RawIndex&)>& change,
                       const char* what) { invalid_index(vectors, name, change, what); };
  raw(
      "id-0", [](RawIndex& i) { i.id = 0; }, "id 0");
  raw(
      "sequence-0", [](RawIndex& i) { i.sequence = 0; }, "sequence 0");
  raw(
      "name", [](RawIndex& i) { i.name = "latest"; }, "a name that the tool reserves");
  raw(
      "name-utf8", [](RawIndex& i) { i.name = "\xC0\x80"; }, "an overlong form in a name");
  raw(
      "recoverables", [](RawIndex& i) { std::swap(i.recoverables[0], i.recoverables[1]); },
      "recoverables that descend");
  raw(
      "keys-left", [](RawIndex& i) { i.recoverables[0].keys += "x"; }, "a byte of no key");
  raw(
      "keys-order", [](RawIndex& i) { i.recoverables[0].keys = "weigbiasht"; },
      "keys that descend");
  raw(
      "dims-left", [](RawIndex& i) { i.recoverables[0].dims.push_back(1); },
      "a dimension of no tensor");
  raw(
      "negative", [](RawIndex& i) { i.recoverables[0].dims[0] = -4; }, "a negative dimension");
  raw(
      "overflow", [](RawIndex& i) { i.recoverables[0].dims[1] = std::int64_t{1} << 62; },
      "a shape whose product overflows");
  raw(
      "too-long", [](RawIndex& i) { i.recoverables[0].dims[1] = 5; },
      "a tensor that runs beyond the last chunk");
  raw(
      "dtype", [](RawIndex& i) { i.recoverables[0].tensors[0] = fb::Tensor(4, 25, 1, 0, 0, 0); },
      "dtype 25");
  raw(
      "half-bytes",
      [](RawIndex& i) {
        i.recoverables[0].tensors[0] = fb::Tensor(4, 24, 1, 0, 0, 0);
        i.recoverables[0].dims[0] = 3;
      },
      "three elements of 4 bits");
  raw(
      "tensor-reserved",
      [](RawIndex& i) { i.recoverables[0].tensors[0] = fb::Tensor(4, 9, 1, 1, 0, 0); },
      "a reserved byte of a tensor");
  raw(
      "no-chunk", [](RawIndex& i) { i.recoverables[0].tensors[0] = fb::Tensor(4, 9, 1, 0, 1, 0); },
      "a tensor that refers to no chunk");
  const auto chunk = raw_chunk;
  raw(
      "encoding", [&](RawIndex& i) { i.chunks[0] = chunk(131072, 64, 64, 255, 0); },
      "encoding 255");
  raw(
      "flags", [&](RawIndex& i) { i.chunks[0] = chunk(131072, 64, 64, 0, 1); }, "a flag");
  raw(
      "stored", [&](RawIndex& i) { i.chunks[0] = chunk(131072, 64, 65, 0, 0); },
      "raw, but of two lengths");
  raw(
      "not-compressed", [&](RawIndex& i) { i.chunks[0] = chunk(131072, 64, 64, 1, 0); },
      "encoding 1, but not shorter");
  raw(
      "chunk-offset", [&](RawIndex& i) { i.chunks[0] = chunk(131080, 64, 64, 0, 0); },
      "a chunk at no multiple of 4096");
  raw(
      "chunk-low", [&](RawIndex& i) { i.chunks[0] = chunk(126976, 64, 64, 0, 0); },
      "a chunk before 131072");
  raw(
      "chunk-end", [&](RawIndex& i) { i.chunks[0] = chunk(kVectorsEnd, 64, 64, 0, 0); },
      "a chunk behind the end of data");
  raw(
      "unused", [&](RawIndex& i) { i.chunks.push_back(chunk(139264, 64, 64, 0, 0)); },
      "a chunk of no tensor");
  raw(
      "misaligned", [](RawIndex& i) { i.misaligned_chunks = true; },
      "chunks at a multiple of 4 only");
  RawIndex overlapping(cut_index());
  overlapping.chunks[3] = chunk(200704, 10, 10, 0, 0);
  vectors.invalid("index", "overlap", overlapping.payload(), "chunks that overlap");
}

// Limits and places.
void add_index_limits(Vectors& vectors) {
  const auto raw = [&](const char* name, const std::function<void(RawIndex&)>& change,
                       const char* what) { invalid_index(vectors, name, change, what); };
  const auto chunk = raw_chunk;
  const auto first_tensor = [](const fb::Tensor& tensor) {
    return [tensor](RawIndex& i) { i.recoverables[0].tensors[0] = tensor; };
  };
  const auto name = [](const std::string& text) { return [text](RawIndex& i) { i.name = text; }; };
  raw("name-empty", name(""), "no name");
  raw("name-slash", name("a/b"), "a name with a slash");
  raw("name-control", name("a\xC2\x85"), "a name with a control character");
  raw("name-256", name(std::string(256, 'n')), "a name of 256 bytes");
  raw("dtype-0", first_tensor(fb::Tensor(4, 0, 1, 0, 0, 0)), "dtype 0");
  raw("offset-behind", first_tensor(fb::Tensor(4, 9, 1, 0, 0, 64)),
      "a tensor that begins behind its chunk");
  raw(
      "rank-65",
      [](RawIndex& i) {
        i.recoverables[0].tensors[0] = fb::Tensor(4, 9, 65, 0, 0, 0);
        auto& dims = i.recoverables[0].dims;
        dims.insert(dims.begin(), 64, 1);
      },
      "rank 65");
  raw(
      "dims-short", [](RawIndex& i) { i.recoverables[0].dims.pop_back(); }, "a dimension too few");
  raw(
      "empty-placed",
      [](RawIndex& i) {
        i.recoverables[0].tensors[0] = fb::Tensor(4, 9, 1, 0, 0, 16);
        i.recoverables[0].dims[0] = 0;
      },
      "an empty tensor with a place");
  raw(
      "chunk-empty", [&](RawIndex& i) { i.chunks.push_back(chunk(139264, 0, 0, 0, 0)); },
      "a chunk of no bytes");
  raw(
      "chunk-too-long", [&](RawIndex& i) { i.chunks[0] = chunk(131072, 67108865, 67108865, 0, 0); },
      "a chunk of 67108865 bytes");
  // The second tensor runs through a second chunk.
  const auto two_chunks = [&](RawIndex& i, std::uint64_t offset, std::uint64_t digest) {
    i.recoverables[0].dims[2] = 4;
    i.chunks.push_back(
        fb::Chunk(copy_digest<fb::Digest>(some_digest(digest)), offset, 64, 64, 0, 0));
  };
  // Elements of 4 bits, and none of them: the product counts bits.
  const auto no_elements = [](std::int64_t dimension) {
    return [dimension](RawIndex& i) {
      i.recoverables[0].tensors[0] = fb::Tensor(4, 24, 2, 0, 0, 0);
      i.recoverables[0].dims.insert(i.recoverables[0].dims.begin(), {0, dimension});
      i.recoverables[0].dims.erase(i.recoverables[0].dims.begin() + 2);
    };
  };
  RawIndex largest(small_index());
  no_elements((std::int64_t{1} << 61) - 1)(largest);
  vectors.valid("index", "largest-empty", largest.payload(),
                "a tensor f4 of 0 times 2^61 - 1 elements");
  raw("overflow-bits", no_elements(std::int64_t{1} << 61), "a tensor f4 of 0 times 2^61 elements");
  raw(
      "same-offset", [&](RawIndex& i) { two_chunks(i, 131072, 1); },
      "two chunks of one offset and other digests");
  raw(
      "same-chunk",
      [&](RawIndex& i) {
        i.chunks[0] = chunk(131072, 64, 64, 0, 0);
        two_chunks(i, 139264, 131072);
      },
      "one chunk at two offsets");
}

/// Where the parts of a payload lie: its root table, the table's vtable, and its fields.
class Places {
 public:
  explicit Places(const Bytes& payload) : payload_(payload) {}
  std::size_t table() const { return base::load_le<std::uint32_t>(payload_, 0); }
  std::size_t vtable() const {
    return table() - static_cast<std::size_t>(base::load_le<std::int32_t>(payload_, table()));
  }
  std::size_t entry(std::size_t field) const { return vtable() + 4 + 2 * field; }
  std::size_t field(std::size_t field) const {
    return table() + base::load_le<std::uint16_t>(payload_, entry(field));
  }
  /// What an offset in a field leads to.
  std::size_t target(std::size_t of) const {
    return field(of) + base::load_le<std::uint32_t>(payload_, field(of));
  }

 private:
  const Bytes& payload_;
};

// FlatBuffers that are none.
void add_flatbuffers(Vectors& vectors) {
  const Bytes good = encode_index(small_index());
  const Places at(good);
  constexpr std::size_t kId = 0;
  constexpr std::size_t kName = 2;
  constexpr std::size_t kRecoverables = 5;
  constexpr std::size_t kChunks = 6;
  const auto changed = [&](const char* name, std::size_t offset, auto value, const char* what) {
    Bytes bytes = good;
    base::store_le(std::span(bytes), offset, value);
    vectors.invalid("index", name, bytes, what);
  };
  vectors.invalid("index", "short", Bytes(good.begin(), good.begin() + 15), "15 bytes");
  vectors.invalid("index", "no-bytes", {}, "no byte at all");
  changed("table-unaligned", 0, static_cast<std::uint32_t>(at.table() + 2),
          "a root table at no multiple of 4");
  changed("table-outside", 0, static_cast<std::uint32_t>(good.size()),
          "a root table behind the payload");
  changed("vtable-outside", at.table(), static_cast<std::int32_t>(at.table() + 2),
          "a vtable before the payload");
  changed("vtable-odd", at.vtable(), std::uint16_t{11}, "a vtable of 11 bytes");
  changed("vtable-long", at.vtable(), std::uint16_t{0xFFFE}, "a vtable that leaves the payload");
  changed("field-outside", at.entry(kId), std::uint16_t{0xFFF8}, "a field outside of the payload");
  changed("field-unaligned", at.entry(kId),
          static_cast<std::uint16_t>(at.field(kId) + 4 - at.table()), "a u64 at no multiple of 8");
  changed("field-offset-0", at.field(kName), std::uint32_t{0}, "an offset of 0");
  changed("field-offset-high", at.field(kName), std::uint32_t{0x80000000}, "an offset of 2^31");
  changed("field-offset-outside", at.field(kName), std::uint32_t{0x7FFFFFFC},
          "an offset that leaves the payload");
  changed("string-long", at.target(kName), std::uint32_t{0x7FFFFFFF},
          "a string that leaves the payload");
  changed("string-end", at.target(kName) + 4 + 7, std::uint8_t{'x'},
          "a string without a zero behind it");
  changed("vector-long", at.target(kChunks), std::uint32_t{0x10000000},
          "a vector that leaves the payload");
  changed("vector-overflow", at.target(kChunks), std::uint32_t{0x05555556},
          "a vector whose length overflows 32 bits");
  changed("vector-of-tables-long", at.target(kRecoverables), std::uint32_t{0x3FFFFFFF},
          "a vector of tables that leaves the payload");
}

// Names, keys and what a reader of this version does not know.
void add_index_names(Vectors& vectors) {
  const auto raw = [&](const char* name, const std::function<void(RawIndex&)>& change,
                       const char* what) { invalid_index(vectors, name, change, what); };
  const auto checkpoint = [](const std::string& text) {
    return [text](RawIndex& i) { i.name = text; };
  };
  const auto recoverable = [](const std::string& text) {
    return [text](RawIndex& i) { i.recoverables[0].name = text; };
  };
  raw("name-best", checkpoint("best:x"), "a name that begins with best:");
  raw("name-id", checkpoint("id:x"), "a name that begins with id:");
  raw("name-name", checkpoint("name:x"), "a name that begins with name:");
  raw("recoverable-empty", recoverable(""), "a recoverable without a name");
  raw("recoverable-slash", recoverable("a/b"), "a recoverable's name with a slash");
  raw("recoverable-256", recoverable(std::string(256, 'n')), "a recoverable's name of 256 bytes");
  raw("recoverable-twice", recoverable("optimizer"), "two recoverables of one name");
  raw(
      "key-utf8", [](RawIndex& i) { i.recoverables[0].keys[0] = '\xFF'; },
      "a key that is no UTF-8");
  raw(
      "key-twice",
      [](RawIndex& i) {
        i.recoverables[0].keys = "biasbias";
        i.recoverables[0].tensors[1] = fb::Tensor(4, 9, 2, 0, 0, 16);
      },
      "two tensors of one key");
  raw(
      "chunk-reserved",
      [](RawIndex& i) { reinterpret_cast<std::byte*>(i.chunks.data())[41] = std::byte{1}; },
      "a reserved byte of a chunk");

  // Written by hand: id, sequence, name, and a text in a field that version 1 does not have.
  constexpr flatbuffers::voffset_t kFirstField = 4;
  constexpr flatbuffers::voffset_t kUnknownField = 18;
  flatbuffers::FlatBufferBuilder builder;
  const auto name = builder.CreateString("epoch-3");
  const auto unknown = builder.CreateString("of a later version");
  const auto start = builder.StartTable();
  builder.AddElement<std::uint64_t>(kFirstField, 3, 0);
  builder.AddElement<std::uint64_t>(kFirstField + 2, 7, 0);
  builder.AddOffset(kFirstField + 4, name);
  builder.AddOffset(kUnknownField, unknown);
  const flatbuffers::Offset<fb::Index> index(builder.EndTable(start));
  vectors.valid("index", "unknown-field", finish(builder, index, "CNIX"),
                "a field 7 that version 1 does not know");
}

// ---- root and summary -------------------------------------------------------------------------

Root two_checkpoints() {
  Root root{.sequence = 7, .parent_sequence = 6, .parent_digest = some_digest(6), .next_id = 9};
  root.checkpoints = {{.id = 3,
                       .sequence = 4,
                       .name = "epoch-3",
                       .pinned = true,
                       .index = {135168, 300},
                       .index_digest = some_digest(3)},
                      {.id = 8,
                       .sequence = 7,
                       .name = "epoch-8",
                       .damaged = true,
                       .index = {131072, 400},
                       .index_digest = some_digest(8)}};
  return root;
}

// What the metadata of an index must not hold: a map with one element, made by hand.
Bytes index_with_value(
    const std::function<flatbuffers::Offset<fb::Value>(flatbuffers::FlatBufferBuilder&)>& make,
    const std::string& key = "k", std::uint32_t key_bytes = 1) {
  flatbuffers::FlatBufferBuilder builder;
  const auto items = builder.CreateVector(std::vector{make(builder)});
  const auto lengths = builder.CreateVector(std::vector{key_bytes});
  const auto keys =
      builder.CreateVector(reinterpret_cast<const std::uint8_t*>(key.data()), key.size());
  fb::ValueBuilder map(builder);
  map.add_items(items);
  map.add_keys(keys);
  map.add_key_lengths(lengths);
  map.add_kind(fb::ValueKind::Map);
  const auto meta = map.Finish();
  const auto name = builder.CreateString("values");
  return finish(builder, fb::CreateIndex(builder, 3, 7, name, 0, meta), "CNIX");
}

void add_values(Vectors& vectors) {
  using Builder = flatbuffers::FlatBufferBuilder;
  const auto add = [&](const char* name, const Bytes& bytes, const char* what) {
    vectors.invalid("index", name, bytes, what);
  };
  const auto plain = [](fb::ValueKind kind, std::int64_t integer, double real) {
    return [=](Builder& builder) {
      if (std::signbit(real)) builder.ForceDefaults(true);  // else -0.0 would be left out
      fb::ValueBuilder value(builder);
      value.add_real(real);
      builder.ForceDefaults(false);
      value.add_integer(integer);
      value.add_kind(kind);
      return value.Finish();
    };
  };
  const auto of_bytes = [](fb::ValueKind kind, const std::vector<std::uint8_t>& bytes) {
    return [=](Builder& builder) {
      const auto vector = builder.CreateVector(bytes);
      fb::ValueBuilder value(builder);
      value.add_bytes(vector);
      value.add_kind(kind);
      return value.Finish();
    };
  };
  add("value-kind-0", index_with_value(plain(static_cast<fb::ValueKind>(0), 0, 0)), "kind 0");
  add("value-kind-8", index_with_value(plain(static_cast<fb::ValueKind>(8), 0, 0)), "kind 8");
  add("value-bool-2", index_with_value(plain(fb::ValueKind::Bool, 2, 0)), "a bool of 2");
  add("value-real-of-int", index_with_value(plain(fb::ValueKind::Int, 1, 0.5)),
      "an int with a real");
  add("value-minus-zero-of-int", index_with_value(plain(fb::ValueKind::Int, 1, -0.0)),
      "an int with a real of -0.0");
  add("value-integer-of-double", index_with_value(plain(fb::ValueKind::Double, 1, 0.5)),
      "a double with an integer");
  add("value-bytes-of-int", index_with_value(of_bytes(fb::ValueKind::Int, {})),
      "an int with bytes, though empty");
  add("value-utf8", index_with_value(of_bytes(fb::ValueKind::String, {0xED, 0xA0, 0x80})),
      "a surrogate in a string");
  add("value-key-utf8", index_with_value(plain(fb::ValueKind::Int, 1, 0), "\xFF"),
      "a key that is no UTF-8");
  add("value-key-65536",
      index_with_value(plain(fb::ValueKind::Int, 1, 0), std::string(65536, 'k'), 65536),
      "a key of 65536 bytes");
  add("value-keys-left", index_with_value(plain(fb::ValueKind::Int, 1, 0), "kk"),
      "a byte of no key");
  add("value-keys-short", index_with_value(plain(fb::ValueKind::Int, 1, 0), "k", 2),
      "a key that is cut short");
  const auto list_of = [](int depth) {
    return [=](Builder& builder) {
      auto value = fb::CreateValue(builder, fb::ValueKind::Int, 1);
      for (int i = 0; i < depth; ++i) {
        const auto items = builder.CreateVector(std::vector{value});
        value = fb::CreateValue(builder, fb::ValueKind::List, 0, 0, 0, items);
      }
      return value;
    };
  };
  add("value-deep-17", index_with_value(list_of(17)), "lists that nest 17 deep");
  add("value-keys-of-list", index_with_value([](Builder& builder) {
        const auto items =
            builder.CreateVector(std::vector{fb::CreateValue(builder, fb::ValueKind::Int, 1)});
        const auto keys = builder.CreateVector(std::vector<std::uint8_t>{});
        return fb::CreateValue(builder, fb::ValueKind::List, 0, 0, 0, items, keys);
      }),
      "a list with keys, though empty");
  const auto two_keys = [](const std::string& keys, const std::vector<std::uint32_t>& lengths) {
    return [=](Builder& builder) {
      const auto one = fb::CreateValue(builder, fb::ValueKind::Int, 1);
      const auto two = fb::CreateValue(builder, fb::ValueKind::Int, 2);
      const auto items = builder.CreateVector(std::vector{one, two});
      const auto text =
          builder.CreateVector(reinterpret_cast<const std::uint8_t*>(keys.data()), keys.size());
      const auto counts = builder.CreateVector(lengths);
      return fb::CreateValue(builder, fb::ValueKind::Map, 0, 0, 0, items, text, counts);
    };
  };
  add("value-keys-order", index_with_value(two_keys("ba", {1, 1})), "keys of a map that descend");
  add("value-keys-twice", index_with_value(two_keys("aa", {1, 1})), "two elements of one key");
  add("value-keys-count", index_with_value(two_keys("a", {1})), "two elements and one key");
  Builder builder;
  const auto scalar = plain(fb::ValueKind::Int, 1, 0)(builder);
  const auto name = builder.CreateString("values");
  add("value-no-map", finish(builder, fb::CreateIndex(builder, 3, 7, name, 0, scalar), "CNIX"),
      "metadata that are no map");
}

struct RawRoot {
  std::uint64_t sequence = 7;
  std::uint64_t parent_sequence = 6;
  std::uint64_t next_id = 9;
  std::vector<fb::RootEntry> entries = {entry(3, 4, 135168, 300), entry(8, 7, 131072, 400)};
  std::string names = "epoch-3epoch-8";
  bool has_parent_digest = true;

  static fb::RootEntry entry(std::uint64_t id, std::uint64_t of, std::uint64_t offset,
                             std::uint64_t bytes, std::uint16_t flags = 0) {
    return {id, of, offset, bytes, copy_digest<fb::Digest>(some_digest(id)), 7, flags, 0};
  }
  Bytes payload() const {
    flatbuffers::FlatBufferBuilder builder;
    const auto digest = copy_digest<fb::Digest>(some_digest(6));
    const auto list = builder.CreateVectorOfStructs(entries);
    const auto text =
        builder.CreateVector(reinterpret_cast<const std::uint8_t*>(names.data()), names.size());
    return finish(builder,
                  fb::CreateRoot(builder, sequence, parent_sequence,
                                 has_parent_digest ? &digest : nullptr, next_id, list, text),
                  "CNRT");
  }
};

void add_roots(Vectors& vectors) {
  vectors.valid("root", "empty", encode_root({.sequence = 1}), "of a new store");
  vectors.valid("root", "two", encode_root(two_checkpoints()),
                "one pinned, one known to be damaged");
  const auto raw = [&](const char* name, const std::function<void(RawRoot&)>& change,
                       const char* what) {
    RawRoot root;
    change(root);
    vectors.invalid("root", name, root.payload(), what);
  };
  vectors.invalid("root", "identifier", encode_index(empty_index()), "an index");
  raw(
      "sequence-0", [](RawRoot& r) { r.sequence = r.parent_sequence = 0; }, "sequence 0");
  raw(
      "parent", [](RawRoot& r) { r.parent_sequence = 7; }, "the parent's sequence is its own");
  raw(
      "no-parent-digest", [](RawRoot& r) { r.has_parent_digest = false; }, "no parent_digest");
  raw(
      "digest-of-no-parent", [](RawRoot& r) { r.parent_sequence = 0; },
      "a parent_digest without a parent");
  raw(
      "ids", [](RawRoot& r) { std::swap(r.entries[0], r.entries[1]); }, "ids that descend");
  raw(
      "next-id", [](RawRoot& r) { r.next_id = 8; }, "next_id is given");
  raw(
      "names-left", [](RawRoot& r) { r.names += "x"; }, "a byte of no name");
  raw(
      "name-twice", [](RawRoot& r) { r.names = "epoch-3epoch-3"; }, "two of one name");
  raw(
      "flags", [](RawRoot& r) { r.entries[1] = RawRoot::entry(8, 7, 131072, 400, 4); },
      "an unknown flag");
  raw(
      "newer", [](RawRoot& r) { r.entries[1] = RawRoot::entry(8, 8, 131072, 400); },
      "a checkpoint of a later commit");
  raw(
      "overlap", [](RawRoot& r) { r.entries[1] = RawRoot::entry(8, 7, 131072, 4097); },
      "indexes that overlap");
  raw(
      "end", [](RawRoot& r) { r.entries[1] = RawRoot::entry(8, 7, kVectorsEnd, 400); },
      "an index behind the end of data");
  raw(
      "id-0", [](RawRoot& r) { r.entries[0] = RawRoot::entry(0, 4, 135168, 300); }, "id 0");
  raw(
      "entry-sequence-0", [](RawRoot& r) { r.entries[0] = RawRoot::entry(3, 0, 135168, 300); },
      "a checkpoint of no commit");
  raw(
      "index-bytes", [](RawRoot& r) { r.entries[0] = RawRoot::entry(3, 4, 135168, 128); },
      "an index without a payload");
  raw(
      "index-unaligned", [](RawRoot& r) { r.entries[0] = RawRoot::entry(3, 4, 135169, 300); },
      "an index at no multiple of 4096");
  raw(
      "index-low", [](RawRoot& r) { r.entries[0] = RawRoot::entry(3, 4, 126976, 300); },
      "an index before 131072");
  raw(
      "ids-equal", [](RawRoot& r) { r.entries[1] = RawRoot::entry(3, 7, 131072, 400); },
      "two checkpoints of one id");
  raw(
      "name-reserved", [](RawRoot& r) { r.names = "id:1234epoch-8"; },
      "a name that the tool reserves");
  raw(
      "names-short", [](RawRoot& r) { r.names.pop_back(); }, "a name that is cut short");
  raw(
      "name-utf8", [](RawRoot& r) { r.names[0] = '\xFF'; }, "a name that is no UTF-8");
  raw(
      "index-bytes-max",
      [](RawRoot& r) {
        r.entries[0] = RawRoot::entry(3, 4, 135168, kRecordHeaderBytes + kMaxPayloadBytes + 1);
      },
      "an index of 2147418241 bytes");
  raw(
      "index-overflow",
      [](RawRoot& r) { r.entries[0] = RawRoot::entry(3, 4, ~std::uint64_t{0} - 4095, 8192); },
      "an index whose end overflows 64 bits");
  raw(
      "next-id-0",
      [](RawRoot& r) {
        r.entries.clear();
        r.names.clear();
        r.next_id = 0;
      },
      "no checkpoint, and a next_id of 0");
  raw(
      "reserved",
      [](RawRoot& r) {
        r.entries[0] = {3, 4, 135168, 300, copy_digest<fb::Digest>(some_digest(3)), 7, 0, 1};
      },
      "a reserved byte");
}

void add_summaries(Vectors& vectors) {
  const IndexSummary good = summarize(small_index());
  vectors.valid("summary", "small", encode_summary(good), "of index-small");
  flatbuffers::FlatBufferBuilder builder;
  const auto names = builder.CreateVectorOfStrings(std::vector<std::string>{"b", "a"});
  vectors.invalid("summary", "order",
                  finish(builder, fb::CreateSummary(builder, 0, 0, names), "CNSM"),
                  "recoverables that descend");
  const auto with_name = [](const std::string& name, std::uint64_t tensors) {
    flatbuffers::FlatBufferBuilder other;
    const auto list = other.CreateVectorOfStrings(std::vector{name});
    return finish(other, fb::CreateSummary(other, 0, 0, list, tensors), "CNSM");
  };
  vectors.valid("summary", "most-tensors", with_name("model", 16777216), "16777216 tensors");
  vectors.invalid("summary", "tensors", with_name("model", 16777217), "16777217 tensors");
  vectors.invalid("summary", "name", with_name("a/b", 1), "a recoverable's name with a slash");
  vectors.invalid("summary", "identifier", encode_index(empty_index()), "an index");
}

// ---- compressed chunks ------------------------------------------------------------------------

/// A frame of Zstandard, by hand: one block that repeats a byte.
Bytes frame(std::uint32_t count, std::uint8_t byte, std::uint32_t says_count) {
  // A single segment whose content size, less 256, stands in two bytes.
  Bytes bytes = {std::byte{0x28}, std::byte{0xB5}, std::byte{0x2F}, std::byte{0xFD},
                 std::byte{0x60}};
  bytes.resize(11);
  base::store_le(std::span(bytes), 5, static_cast<std::uint16_t>(says_count - 256));
  const std::uint32_t block = count << 3 | 1U << 1 | 1U;  // repeated, and the last
  for (std::size_t i = 0; i < 3; ++i) bytes[7 + i] = static_cast<std::byte>(block >> (8 * i));
  bytes[10] = static_cast<std::byte>(byte);
  return bytes;
}
Bytes frame(std::uint32_t count, std::uint8_t byte) {
  return frame(count, byte, count);
}

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// kVectorsPlainBytes plain bytes in groups of 4, everything open to change: a block of 65536
/// elements, then one of 1 element and 2 bytes.
struct RawCompressed {
  Bytes header = {std::byte{4}, std::byte{1}, {}, {}, {}, {}, {}, {}};
  std::vector<Bytes> groups = {frame(65536, 1), frame(65536, 2), frame(65536, 3), frame(65536, 4)};
  Bytes last = Bytes(4, std::byte{5}) + Bytes(2, std::byte{6});

  Bytes stored() const {
    Bytes bytes = header;
    for (const Bytes& group : groups) bytes = bytes + length(group.size());
    for (const Bytes& group : groups) bytes = bytes + group;
    for (std::size_t i = 0; i < groups.size(); ++i) bytes = bytes + length(1);
    bytes = bytes + last + Bytes(kDigestBytes);
    seal(bytes);
    return bytes;
  }
  static Bytes length(std::size_t length) {
    Bytes bytes(4);
    base::store_le(std::span(bytes), 0, static_cast<std::uint32_t>(length));
    return bytes;
  }
};

void add_chunks(Vectors& vectors) {
  const Bytes good = RawCompressed().stored();
  vectors.valid("chunk", "rotated", good, "width 4, rotated; each group one repeated byte");
  vectors.valid("chunk", "followed", good + Bytes(5), "the same, and five zeros");
  RawCompressed wide;  // the second block is shorter than an element
  wide.header = {std::byte{8}, {}, {}, {}, {}, {}, {}, {}};
  wide.groups = std::vector<Bytes>(8, frame(32768, 7));
  Bytes bytes = wide.header;
  for (const Bytes& group : wide.groups) bytes = bytes + RawCompressed::length(group.size());
  for (const Bytes& group : wide.groups) bytes = bytes + group;
  bytes = bytes + Bytes(32) + Bytes(6, std::byte{8}) + Bytes(kDigestBytes);
  seal(bytes);
  vectors.valid("chunk", "wide", bytes, "width 8; a second block without any element");

  const auto raw = [&](const char* name, const std::function<void(RawCompressed&)>& change,
                       const char* what) {
    RawCompressed changed;
    change(changed);
    vectors.invalid("chunk", name, changed.stored(), what);
  };
  const auto header = [&](const char* name, std::size_t at, std::uint8_t value, const char* what) {
    raw(
        name, [=](RawCompressed& c) { c.header[at] = static_cast<std::byte>(value); }, what);
  };
  const auto group = [&](const char* name, const Bytes& stored, const char* what) {
    raw(
        name, [&](RawCompressed& c) { c.groups[1] = stored; }, what);
  };
  header("width-0", 0, 0, "width 0");
  header("width-3", 0, 3, "width 3");
  header("width-16", 0, 16, "width 16");
  header("rotated-2", 1, 2, "rotated is 2");
  header("reserved", 7, 1, "a reserved byte");
  vectors.invalid("chunk", "header-cut", Bytes(good.begin(), good.begin() + 7), "7 bytes");
  vectors.invalid("chunk", "digest-cut", Bytes(good.begin(), good.end() - 1),
                  "a byte of the digest is missing");
  vectors.invalid("chunk", "digest", with_bit_flipped(good, 8 * 30), "a bit is flipped");
  vectors.invalid("chunk", "followed", good + Bytes(4) + Bytes(1, std::byte{1}),
                  "what follows is not zero");
  group("group-long", Bytes(65537), "a group of 65537 bytes for 65536");
  group("group-empty", {}, "a group of no bytes");
  group("frame-magic", Bytes(1, std::byte{0x27}) + Bytes(10), "no frame of Zstandard");
  Bytes cut = frame(65536, 2);
  cut.pop_back();
  group("frame-cut", cut, "a frame without its last byte");
  group("frame-followed", frame(65536, 2) + Bytes(1), "a byte behind a frame");
  group("two-frames", frame(32768, 2) + frame(32768, 2), "two frames");
  group("frame-size", frame(65535, 2, 65535), "a frame of 65535 bytes for 65536");
  group("frame-short", frame(65535, 2, 65536), "a frame that holds a byte less than it says");
  group("frame-long", frame(65537, 2, 65536), "a frame that holds a byte more than it says");
  // 50 2A 4D 18, a length of 3 in four bytes, and three bytes that mean nothing.
  Bytes skippable = Bytes(11);
  base::store_le(std::span(skippable), 0, 0x184D2A50U);
  base::store_le(std::span(skippable), 4, 3U);
  group("skippable", skippable + frame(65536, 2), "a skippable frame in front");
  Bytes windowed = frame(65536, 2);  // a window of 128 KiB instead of the content size
  windowed[4] = std::byte{0};
  windowed[5] = std::byte{0x38};
  windowed.erase(windowed.begin() + 6);
  group("frame-without-size", windowed, "a frame that does not say how long its content is");
  Bytes dictionary = frame(65536, 2);
  dictionary[4] = std::byte{0x61};
  dictionary.insert(dictionary.begin() + 5, std::byte{7});
  group("frame-dictionary", dictionary, "a frame that needs dictionary 7");
}

// ---- packs ------------------------------------------------------------------------------------

Bytes read_file(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

constexpr std::uint64_t kChunkAt = 139264;  // behind the two roots of a new pack
constexpr std::uint64_t kIndexAt = 143360;
constexpr std::uint64_t kFirstRootAt = 147456;
constexpr std::uint64_t kSecondRootAt = 151552;
constexpr std::uint64_t kEnd = 155648;

// What parts of a pack say of others, and may say wrongly.
struct PackClaims {
  std::uint64_t listed_id = 1;  // in the root, of the checkpoint 1
  std::uint64_t listed_sequence = 2;
  std::uint64_t parent_sequence = 1;   // in the root
  std::uint64_t more_index_bytes = 0;  // in the root
};

/// The one tensor of a pack, and how it is stored.
struct Contents {
  IndexTensor tensor{};
  Bytes plain{};
  Bytes stored{};
  Encoding encoding = Encoding::kRaw;
};

Contents four_floats() {
  const float values[] = {1, 2, 3, 4};
  const auto bytes = std::as_bytes(std::span(values));
  return {.tensor = {.key = "w", .shape = {4}},
          .plain = {bytes.begin(), bytes.end()},
          .stored = {bytes.begin(), bytes.end()}};
}

// Weights whose exponents are few, so that zstd codes the one group and not the other.
Contents compressed_weights() {
  constexpr std::size_t kCount = 2500;
  Contents contents{.tensor = {.key = "w", .dtype = DType::kBF16, .shape = {kCount}},
                    .encoding = Encoding::kGrouped};
  std::uint64_t state = 1;
  for (std::size_t i = 0; i < kCount; ++i) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    const auto bits =
        static_cast<std::uint16_t>((state >> 48 & 0x807f) | (0x7a + (state >> 40 & 3)) << 7);
    contents.plain.push_back(static_cast<std::byte>(bits));
    contents.plain.push_back(static_cast<std::byte>(bits >> 8));
  }
  contents.stored.resize(codec::most_encoded_bytes(contents.plain.size()));
  contents.stored.resize(
      codec::encode(contents.plain, codec::layout_of(DType::kBF16), contents.stored));
  return contents;
}

// One checkpoint, saved by commit 2 into a new pack.
void add_checkpoint(const std::filesystem::path& path, const Contents& contents,
                    const PackClaims& claims) {
  const auto pack = pack::PackFile::open(path, io::File::Access::kReadWrite);
  Index index{.id = 1, .sequence = 2, .name = "one", .meta = {{"loss", 0.5}}};
  index.recoverables = {{.name = "model", .tensors = {contents.tensor}}};
  index.chunks = {{.id = base::xxh3_128(contents.plain),
                   .offset = kChunkAt,
                   .plain_bytes = contents.plain.size(),
                   .stored_bytes = contents.stored.size(),
                   .encoding = contents.encoding}};
  const Bytes index_payload = encode_index(index);
  const Extent index_extent{kIndexAt, kRecordHeaderBytes + index_payload.size()};

  const Slot parent = *pack.read_slots().slots[0];
  Root root{.sequence = 2,
            .parent_sequence = claims.parent_sequence,
            .parent_digest = claims.parent_sequence == 0 ? ChunkId{} : parent.root.digest,
            .next_id = claims.listed_id + 1};
  root.checkpoints = {{.id = claims.listed_id,
                       .sequence = claims.listed_sequence,
                       .name = "one",
                       .index = {kIndexAt, index_extent.bytes + claims.more_index_bytes},
                       .index_digest = base::xxh3_128(index_payload)}};
  const Bytes root_payload = encode_root(root);
  const std::uint64_t root_bytes = kRecordHeaderBytes + root_payload.size();
  const Extent first{kFirstRootAt, root_bytes};
  const Extent second{kSecondRootAt, root_bytes};
  std::vector<pack::ExtentWrite> writes;
  writes.push_back(
      {.offset = kChunkAt, .bytes = contents.stored.size(), .fill = [&](std::span<std::byte> out) {
         std::copy(contents.stored.begin(), contents.stored.end(), out.begin());
       }});
  writes.push_back(
      pack::record_write(RecordType::kIndex, index_extent, 2, pack.uuid(), index_payload));
  for (const Extent& copy : {first, second}) {
    writes.push_back(pack::record_write(RecordType::kRoot, copy, 2, pack.uuid(), root_payload));
  }
  pack.write_extents(std::move(writes));
  pack.write_slot(
      {.number = 1,
       .sequence = 2,
       .parent_sequence = 1,
       .parent_digest = parent.root.digest,
       .root = {.first = first, .second = second, .digest = base::xxh3_128(root_payload)},
       .data_end = kEnd});
}

void add_packs(Vectors& vectors, const std::filesystem::path& directory) {
  const auto path = directory / "pack.tmp";
  pack::PackFile::create(path, superblock());
  const Bytes empty = read_file(path);
  vectors.valid("pack", "empty", empty, "a new store");
  const auto with_checkpoint = [&](const PackClaims& claims) {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(empty.data()),
               static_cast<std::streamsize>(empty.size()));
    add_checkpoint(path, four_floats(), claims);
    Bytes bytes = read_file(path);
    std::filesystem::remove(path);
    return bytes;
  };
  const Bytes good = with_checkpoint({});
  vectors.valid("pack", "one", good, "one checkpoint with one tensor, model/w, f32 [1, 2, 3, 4]");
  vectors.valid("pack", "first-superblock", with_bit_flipped(good, 8 * 30),
                "the first superblock is damaged, the second good");
  vectors.valid("pack", "first-root", with_bit_flipped(good, 8 * (kFirstRootAt + 130)),
                "the first copy of the root is damaged, the second good");
  const auto newer = [&](Bytes pack, std::size_t at) {
    base::store_le(std::span(pack), at + 16, 2U);
    seal(std::span(pack).subspan(at, kSuperblockBytes));
    return pack;
  };
  vectors.invalid("pack", "newer", newer(good, 0),
                  "the first superblock is of version 2, the second of version 1");
  vectors.invalid("pack", "newer-second", newer(with_bit_flipped(good, 8 * 30), 65536),
                  "the first superblock is damaged, the second of version 2");
  vectors.invalid("pack", "superblocks", with_bit_flipped(with_bit_flipped(good, 8 * 30), 524528),
                  "both superblocks are damaged");
  vectors.invalid(
      "pack", "roots",
      with_bit_flipped(with_bit_flipped(good, 8 * (kFirstRootAt + 130)), 8 * (kSecondRootAt + 130)),
      "both copies of the root are damaged");
  vectors.invalid("pack", "index", with_bit_flipped(good, 8 * (kIndexAt + 130)),
                  "the index is damaged");
  vectors.invalid("pack", "chunk", with_bit_flipped(good, 8 * kChunkAt), "the chunk is damaged");
  vectors.invalid("pack", "cut", Bytes(good.begin(), good.begin() + kIndexAt + 10),
                  "the file ends inside the index");
  vectors.invalid("pack", "cut-chunk", Bytes(good.begin(), good.begin() + kChunkAt + 10),
                  "the file ends inside the chunk");
  vectors.invalid("pack", "other-id", with_checkpoint({.listed_id = 2}),
                  "the root lists the index under another id");
  vectors.invalid("pack", "other-sequence", with_checkpoint({.listed_sequence = 1}),
                  "the root lists the index under another commit");
  vectors.invalid("pack", "slot-against-root", with_checkpoint({.parent_sequence = 0}),
                  "slot and root name different parents");
  vectors.invalid("pack", "index-length", with_checkpoint({.more_index_bytes = 8}),
                  "the root says that the index is longer than it is");
  // Headers that tell of commit 3, in packs whose payloads are of commit 2.
  const auto with_sequence = [](Bytes pack, std::uint64_t at) {
    const auto header = std::span(pack).subspan(at, kRecordHeaderBytes);
    const Bytes changed = with_byte(Bytes(header.begin(), header.end()), 40, 3, kRecordHeaderBytes);
    std::copy(changed.begin(), changed.end(), header.begin());
    return pack;
  };
  vectors.invalid("pack", "index-sequence", with_sequence(good, kIndexAt),
                  "the index's header and payload tell of different commits");
  vectors.invalid("pack", "root-sequence",
                  with_sequence(with_sequence(good, kFirstRootAt), kSecondRootAt),
                  "the same for both copies of the root");

  Superblock compressed = superblock();
  compressed.incompat = kIncompatCompressed;
  pack::PackFile::create(path, compressed);
  add_checkpoint(path, compressed_weights(), {});
  const Bytes with_compressed = read_file(path);
  std::filesystem::remove(path);
  vectors.valid("pack", "compressed", with_compressed,
                "one checkpoint with one tensor, model/w, bf16 of 2500, in a compressed chunk");
  vectors.invalid("pack", "compressed-chunk",
                  with_bit_flipped(with_compressed, 8 * (kChunkAt + 20)),
                  "the compressed chunk is damaged");
}

}  // namespace
}  // namespace cairn::format

int main(int argc, char** argv) {
  using namespace cairn::format;
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_vectors_main DIRECTORY\n");
    return 2;
  }
  Vectors vectors(argv[1]);
  add_superblocks(vectors);
  add_slots(vectors);
  add_records(vectors, encode_index(small_index()), encode_root(two_checkpoints()));
  add_indexes(vectors);
  add_index_limits(vectors);
  add_index_names(vectors);
  add_values(vectors);
  add_roots(vectors);
  add_summaries(vectors);
  add_flatbuffers(vectors);
  add_chunks(vectors);
  add_packs(vectors, argv[1]);
  vectors.write_table();
  return 0;
}
