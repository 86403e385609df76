// Makes seeds for the fuzz targets from real stores and from the golden vectors:
//
//   seeds DIRECTORY VECTORS      writes DIRECTORY/NAME/seed-N for each target
#include "base/digest.h"
#include "base/little_endian.h"
#include "catalog/catalog.h"
#include "catalog/row_codec.h"
#include "codec/grouped.h"
#include "format/fixed.h"
#include "format/index.h"
#include "format/record.h"
#include "format/root.h"
#include "format/slot.h"
#include "format/superblock.h"
#include "image.h"
#include "interop/safetensors_header.h"
#include "mend.h"
#include "pack/pack_file.h"

#include <cairn/store.h>

#include <fstream>
#include <limits>
#include <map>
#include <random>

namespace {

using namespace cairn;
using fuzz::Bytes;
using fuzz::View;

constexpr std::size_t kCatalogAt = std::size_t{1} << 19;  // see pack.cc

class Seeds {
 public:
  explicit Seeds(std::filesystem::path directory) : directory_(std::move(directory)) {}

  void add(const std::string& target, View bytes) {
    const auto place = directory_ / target;
    std::filesystem::create_directories(place);
    fuzz::write_file(place / ("seed-" + std::to_string(count_[target]++)), bytes);
  }
  void add(const std::string& target, std::string_view text) {
    add(target, std::as_bytes(std::span(text)));
  }

 private:
  std::filesystem::path directory_;
  std::map<std::string, int> count_;
};

// ---- stores -----------------------------------------------------------------------------------

struct OwnedState {
  std::vector<std::unique_ptr<Bytes>> bytes{};
  CheckpointState state{};

  TensorInput tensor(std::string key, DType dtype, std::vector<std::int64_t> shape,
                     std::size_t length, int value) {
    bytes.push_back(std::make_unique<Bytes>(std::max<std::size_t>(length, 1)));
    for (std::size_t i = 0; i < length; ++i) {
      // Zeros, which an image leaves out, with something between them.
      if (i % 512 < 24) (*bytes.back())[i] = static_cast<std::byte>(static_cast<int>(i) * value);
    }
    return {.key = std::move(key),
            .dtype = dtype,
            .shape = std::move(shape),
            .data = bytes.back()->data()};
  }
};

MetaValue::Map values_of_every_kind() {
  return {{"bool", true},
          {"int", -7},
          {"double", 0.25},
          {"nan", std::numeric_limits<double>::quiet_NaN()},
          {"zero", -0.0},
          {"text", "h\xC3\xA4user"},
          {"bytes", MetaValue::Bytes{std::byte{0}, std::byte{255}}},
          {"list", MetaValue::List{1, "two", MetaValue::List{}}},
          {"map", MetaValue::Map{{"", 0}, {"k", MetaValue::Map{{"deep", 1.5}}}}},
          {"empty", MetaValue::Map{}}};
}

OwnedState state_of(int value) {
  OwnedState owned;
  owned.state.resize(2);
  owned.state[0].name = "model";
  owned.state[0].tensors.push_back(owned.tensor("a", DType::kF32, {2, 3}, 24, value));
  owned.state[0].tensors.push_back(owned.tensor("empty", DType::kI64, {0, 5}, 0, value));
  owned.state[0].tensors.push_back(owned.tensor("large", DType::kU8, {70'000}, 70'000, 3));
  owned.state[0].tensors.push_back(owned.tensor("scalar", DType::kF64, {}, 8, value));
  owned.state[0].tensors.push_back(owned.tensor("packed", DType::kF4E2M1, {2, 2}, 2, value));
  owned.state[1].name = "optimizer";
  owned.state[1].values = values_of_every_kind();
  owned.state[1].tensors.push_back(owned.tensor("step", DType::kI64, {1}, 8, value));
  return owned;
}

void save(Store& store, int value, const SaveOptions& options) {
  const OwnedState owned = state_of(value);
  store.save(owned.state, options);
}

void make_empty(const std::filesystem::path& directory) {
  const Store store(directory);
}

void make_small(const std::filesystem::path& directory) {
  Store store(directory, {.chunk_bytes = 65536});
  save(store, 1, {.meta = {{"loss", 0.5}}, .name = "one"});
  save(store, 2, {.meta = Metadata(values_of_every_kind())});
  const std::uint64_t first = 1;
  store.set_pinned({&first, 1}, true);
}

// Deleted and replaced checkpoints, reused space, every slot written.
void make_worked(const std::filesystem::path& directory) {
  Store store(directory, {.chunk_bytes = 65536});
  for (int i = 1; i <= 5; ++i) {
    save(store, i, {.meta = {{"i", i}}, .name = i % 2 == 0 ? "even" : "", .replace = true});
  }
  const std::uint64_t third = 3;
  store.remove({&third, 1});
  const std::uint64_t last = 5;
  store.set_damaged({&last, 1}, true);
}

void make_compressed(const std::filesystem::path& directory) {
  Store store(directory, {.chunk_bytes = 65536, .compression = Compression::kZstd});
  save(store, 1, {.name = "one"});
  save(store, 2, {.name = "two"});
}

// ---- what is taken from them ------------------------------------------------------------------

void take_records(const std::filesystem::path& path, Seeds& seeds) {
  const auto pack = pack::PackFile::open(path, io::File::Access::kRead);
  const Bytes file = fuzz::read_file(path);
  for (const std::uint64_t at : format::kSlotOffsets) {
    Bytes sector(file.begin() + static_cast<std::ptrdiff_t>(at),
                 file.begin() + static_cast<std::ptrdiff_t>(at + format::kSlotBytes));
    if (format::all_zero(sector)) continue;
    fuzz::mend_slot(sector, fuzz::sample_uuid());
    seeds.add("slot", sector);
  }
  for (const auto type : {format::RecordType::kIndex, format::RecordType::kRoot}) {
    for (const pack::FoundRecord& found : pack.scan(type)) {
      const auto begin = file.begin() + static_cast<std::ptrdiff_t>(found.extent.offset);
      Bytes record(begin, begin + static_cast<std::ptrdiff_t>(found.extent.bytes));
      fuzz::mend_record(record, fuzz::sample_uuid(), fuzz::kRecordOffset);
      seeds.add("record", record);
      seeds.add(type == format::RecordType::kIndex ? "index" : "root",
                View(record).subspan(format::kRecordHeaderBytes));
    }
  }
}

void take_rows(const std::filesystem::path& path, Seeds& seeds) {
  const auto add = [&](catalog::Table table, View key, View value) {
    Bytes row{static_cast<std::byte>(table), static_cast<std::byte>(key.size())};
    row.insert(row.end(), key.begin(), key.end());
    row.insert(row.end(), value.begin(), value.end());
    seeds.add("row", row);
  };
  const auto catalog = catalog::Catalog::open(path, catalog::Mode::kReadOnly);
  const auto view = catalog.read();
  add(catalog::Table::kInfo, catalog::info_key(), catalog::encode_info(view.info()));
  view.for_each_checkpoint([&](const catalog::CheckpointRow& row) {
    add(catalog::Table::kCheckpoints, catalog::number_key(row.id), catalog::encode_checkpoint(row));
    add(catalog::Table::kNames, catalog::name_key(row.name),
        catalog::encode_name(row.name, row.id));
    seeds.add("values", format::encode_summary(row.summary));
  });
  int chunks = 0;
  view.for_each_chunk([&](const catalog::ChunkKey& key, const catalog::ChunkRow& row) {
    if (chunks++ > 1) return;
    add(catalog::Table::kChunks, catalog::chunk_key(key), catalog::encode_chunk(key, row));
  });
  int free = 0;
  view.for_each_free([&](const catalog::FreeRow& row) {
    if (free++ > 1) return;
    add(catalog::Table::kFree, catalog::number_key(row.offset), catalog::encode_free(row));
  });
}

void take_store(const std::filesystem::path& directory, Seeds& seeds) {
  // Loads, saves, deletes, repairs; see the steps of pack.cc, catalog.cc and vetting.cc.
  const std::vector<Bytes> scripts = {
      {},
      {std::byte{3}, std::byte{9}, std::byte{1}, std::byte{0}, std::byte{5}, std::byte{0},
       std::byte{3}, std::byte{30}, std::byte{2}, std::byte{1}, std::byte{3}, std::byte{40},
       std::byte{2}, std::byte{1}, std::byte{1}, std::byte{2}},
      {std::byte{10}, std::byte{1}, std::byte{5}, std::byte{1}, std::byte{9}, std::byte{8}}};
  for (const Bytes& script : scripts) {
    seeds.add("pack", fuzz::compress({script, fuzz::read_file(directory / "pack")}));
    const Bytes catalog = fuzz::read_file(directory / "catalog.mdb");
    seeds.add("catalog", fuzz::compress({script, catalog}));
    seeds.add("vetting", fuzz::compress({script, catalog}));
    Bytes both = fuzz::read_file(directory / "pack");
    both.resize(kCatalogAt);
    both.insert(both.end(), catalog.begin(), catalog.end());
    seeds.add("pack", fuzz::compress({script, both}));
  }
  take_records(directory / "pack", seeds);
  take_rows(directory / "catalog.mdb", seeds);
}

// Both slots of a store that lost them, so that a scan is needed.
void take_scan(const std::filesystem::path& directory, Seeds& seeds) {
  Bytes pack = fuzz::read_file(directory / "pack");
  for (const std::uint64_t at : format::kSlotOffsets) {
    std::fill_n(pack.begin() + static_cast<std::ptrdiff_t>(at), format::kSlotBytes, std::byte{0});
  }
  seeds.add("pack", fuzz::compress({{std::byte{1}, std::byte{2}}, pack}));
  seeds.add("pack", fuzz::compress({{std::byte{10}, std::byte{4}, std::byte{1}}, pack}));
}

// A catalog with trees of several levels, overflow pages and lists of free pages.
void take_large_catalog(const std::filesystem::path& directory, Seeds& seeds) {
  const auto path = directory / "large.mdb";
  {
    const auto catalog = catalog::Catalog::create(path);
    constexpr std::uint64_t kCommits = 4;
    constexpr std::uint64_t kRows = 90;
    for (std::uint64_t commit = 0; commit < kCommits; ++commit) {
      auto change = catalog.write();
      for (std::uint64_t i = commit; i < kRows; i += kCommits) {
        const auto digest = base::xxh3_128(std::as_bytes(std::span(&i, 1)));
        change.put_chunk({.id = digest, .plain_bytes = i + 1},
                         {.offset = 4096 * (i + 32), .stored_bytes = i + 1, .references = 1});
        change.put_free({.offset = 4096 * (i + 1000), .bytes = 4096, .freed_by = 1});
      }
      if (commit == 3) change.erase_checkpoint(2);
      catalog::CheckpointRow row{.id = commit + 1,
                                 .sequence = commit + 2,
                                 .name = "checkpoint-" + std::to_string(commit),
                                 .index = {.offset = 4096 * (commit + 32), .bytes = 200}};
      row.summary.meta.set("text", std::string(commit * 3000, 'x'));
      change.put_checkpoint(row);
      change.put_info({.sequence = commit + 1,
                       .next_id = commit + 2,
                       .root = {.first = {131072, 200}, .second = {135168, 200}},
                       .data_end = 4096 * 2000});
      change.commit();
    }
  }
  const Bytes catalog = fuzz::read_file(path);
  seeds.add("catalog", fuzz::compress({{std::byte{1}, std::byte{0}}, catalog}));
  Bytes script;
  for (int i = 0; i < 200; ++i) script.push_back(static_cast<std::byte>(i * 37));
  seeds.add("vetting", fuzz::compress({script, catalog}));
}

void add_safetensors(Seeds& seeds) {
  const auto add = [&](std::string_view header, std::size_t data_bytes) {
    Bytes file(interop::kLengthBytes);
    base::store_le(std::span(file), 0, std::uint64_t{header.size()});
    const View text = std::as_bytes(std::span(header));
    file.insert(file.end(), text.begin(), text.end());
    file.resize(file.size() + data_bytes, std::byte{7});
    seeds.add("safetensors", file);
  };
  add("{}", 0);
  add(R"({"__metadata__":{"format":"pt","k":"v"},"w":{"dtype":"F32","shape":[2,1],)"
      R"("data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}})",
      10);
  add(R"({"e":{"dtype":"I64","shape":[0,3],"data_offsets":[0,0]},"x":{"dtype":"F6_E2M3",)"
      R"("shape":[4],"data_offsets":[0,3],"more":[{"a":[1,-2,3.5e2,null,true]}]}})",
      3);
}

void add_words(Seeds& seeds) {
  seeds.add("words", "7\nid:7\nname:7\nlatest\nbest:min:loss\nbest:max:step\nbest:mid:x\nepoch-3");
  seeds.add("words", "loss=0.25\nn=3\nkind=full\ntag=\"3\"\nflag=true\nx=nan\ny=-inf\nz=1e-3");
  seeds.add("words", "=\na==b\nid:\nid:99999999999999999999\n\xE2\x80\xAEname\n\xFF\xFE\nn=1e999");
}

void add_calls(Seeds& seeds) {
  Bytes calls;
  for (int i = 0; i < 120; ++i) calls.push_back(static_cast<std::byte>((i * 83 + i / 7) % 256));
  seeds.add("model", calls);
  for (int i = 0; i < 120; ++i) calls[static_cast<std::size_t>(i)] = static_cast<std::byte>(i * 29);
  seeds.add("model", calls);
}

void add_compressed_chunks(Seeds& seeds) {
  std::mt19937_64 random(3);
  const auto add = [&](DType dtype, std::size_t bytes, const auto& byte_at) {
    Bytes plain(bytes);
    for (std::size_t i = 0; i < bytes; ++i) plain[i] = static_cast<std::byte>(byte_at(i));
    Bytes input(sizeof(std::uint32_t) + codec::most_encoded_bytes(bytes));
    base::store_le(std::span(input), 0, static_cast<std::uint32_t>(bytes));
    const std::size_t stored = codec::encode(plain, codec::layout_of(dtype),
                                             std::span(input).subspan(sizeof(std::uint32_t)));
    input.resize(sizeof(std::uint32_t) + stored);
    seeds.add("codec", input);
  };
  // Exponents of few values, mantissas of all.
  const auto weight = [&](std::size_t i) { return i % 2 == 0 ? random() : 0x3b + random() % 3; };
  add(DType::kBF16, 701, weight);
  add(DType::kF32, 600, weight);
  add(DType::kF64, 333, [](std::size_t i) { return i / 64; });
  add(DType::kU8, 500, [&](std::size_t) { return random() % 5; });
  add(DType::kI64, codec::kBlockBytes + 9, [](std::size_t) { return 0; });
  add(DType::kU8, 40, [&](std::size_t) { return random(); });
}

// What most scripts do with a pack: load, verify, save, repair, save, salvage.
const Bytes kPackScript = {std::byte{1}, std::byte{3},  std::byte{9}, std::byte{1},
                           std::byte{0}, std::byte{10}, std::byte{0}, std::byte{3},
                           std::byte{9}, std::byte{1},  std::byte{0}, std::byte{11}};

// Each row of the vectors' table: file, kind, ...
void add_vectors(const std::filesystem::path& directory, Seeds& seeds) {
  static const std::map<std::string, std::string> kTargets = {
      {"superblock", "superblock"}, {"slot", "slot"},   {"index-record", "record"},
      {"root-record", "record"},    {"index", "index"}, {"root", "root"},
      {"summary", "values"},        {"chunk", "codec"}, {"pack", "pack"}};
  constexpr std::uint32_t kPlainBytes = codec::kBlockBytes + 6;  // of every vector of a chunk
  std::ifstream table(directory / "table.tsv");
  std::string line;
  std::getline(table, line);  // headings
  while (std::getline(table, line)) {
    const std::size_t tab = line.find('\t');
    const std::string kind = line.substr(tab + 1, line.find('\t', tab + 1) - tab - 1);
    Bytes bytes = fuzz::read_file(directory / line.substr(0, tab));
    if (kind == "pack") bytes = fuzz::compress({kPackScript, bytes});
    if (kind == "chunk") {
      bytes.insert(bytes.begin(), sizeof(kPlainBytes), std::byte{0});
      base::store_le(std::span(bytes), 0, kPlainBytes);
    }
    seeds.add(kTargets.at(kind), bytes);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: seeds DIRECTORY VECTORS\n");
    return 2;
  }
  Seeds seeds(argv[1]);
  const fuzz::Scratch scratch;
  seeds.add("superblock", format::encode_superblock({.uuid = fuzz::sample_uuid(),
                                                     .chunk_bytes = std::uint64_t{1} << 20}));
  seeds.add("superblock", format::encode_superblock({.compat = 1,
                                                     .ro_compat = 2,
                                                     .uuid = fuzz::sample_uuid(),
                                                     .chunk_bytes = format::kMinChunkBytes}));
  int number = 0;
  for (const auto make : {make_empty, make_small, make_worked}) {
    const auto directory = scratch.path() / std::to_string(number++);
    make(directory);
    take_store(directory, seeds);
    take_scan(directory, seeds);
  }
  take_large_catalog(scratch.path(), seeds);
  add_compressed_chunks(seeds);
  add_safetensors(seeds);
  add_words(seeds);
  add_calls(seeds);
  make_compressed(scratch.path() / "compressed");
  take_store(scratch.path() / "compressed", seeds);
  add_vectors(argv[2], seeds);
  return 0;
}
