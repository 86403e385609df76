// format/reader/cairn_reader.py, written from format/SPEC.md alone, against this library: what it
// says of a pack, without the catalog, is what was saved, and what it refuses, this library
// refuses.
#include "base/digest.h"
#include "base/little_endian.h"
#include "format/raw_index.h"
#include "format/vectors.h"
#include "pack/pack_file.h"
#include "support/scratch.h"
#include "support/states.h"

#include <cairn/salvage.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <fstream>
#include <limits>
#include <random>
#include <sys/wait.h>

namespace cairn {
namespace {

using namespace cairn::testing;
using nlohmann::json;

/// A Python that has what the reader needs, or "".
std::string python() {
  for (const char* program : {"python3", "/usr/bin/python3"}) {
    const std::string check = std::string(program) + " -c 'import xxhash, zstandard' 2>/dev/null";
    if (std::system(check.c_str()) == 0) return program;
  }
  return "";
}

std::string shell_word(const std::string& word) {
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

std::string base64(const MetaValue::Bytes& bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    unsigned group = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      group = group << 8 | (j < count ? static_cast<unsigned>(bytes[i + j]) : 0U);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      text += j <= count ? kDigits[group >> (18 - 6 * j) & 63] : '=';
    }
  }
  return text;
}

json json_of(const MetaValue::Map& map);

/// As the reader prints it: with its kind, doubles by their bits.
json json_of(const MetaValue& value) {
  if (value.is_bool()) return {{"bool", value.as_bool()}};
  if (value.is_int()) return {{"int", value.as_int()}};
  if (value.is_double()) {
    char hex[17];
    std::snprintf(hex, sizeof(hex), "%016llx",
                  static_cast<unsigned long long>(std::bit_cast<std::uint64_t>(value.as_double())));
    return {{"double", hex}};
  }
  if (value.is_string()) return {{"string", value.as_string()}};
  if (value.is_bytes()) return {{"bytes", base64(value.as_bytes())}};
  if (value.is_map()) return {{"map", json_of(value.as_map())}};
  json items = json::array();
  for (const MetaValue& item : value.as_list()) items.push_back(json_of(item));
  return {{"list", items}};
}

json json_of(const MetaValue::Map& map) {
  json object = json::object();
  for (const auto& [key, value] : map) object[key] = json_of(value);
  return object;
}

json json_of(const Checkpoint& checkpoint) {
  const CheckpointInfo& info = checkpoint.info();
  json recoverables = json::array();
  for (const std::string& name : info.recoverables) {
    json tensors = json::array();
    for (const TensorInfo& tensor : checkpoint.tensors(name)) {
      tensors.push_back({{"key", tensor.key},
                         {"dtype", to_string(tensor.dtype)},
                         {"shape", std::vector(tensor.shape.begin(), tensor.shape.end())},
                         {"bytes", tensor.bytes}});
    }
    recoverables.push_back(
        {{"name", name}, {"values", json_of(checkpoint.values(name))}, {"tensors", tensors}});
  }
  return {{"id", info.id},
          {"name", info.name},
          {"sequence", info.sequence},
          {"created_unix_ns", info.created_unix_ns},
          {"pinned", info.pinned},
          {"meta", json_of(info.meta.map())},
          {"recoverables", recoverables}};
}

json json_of(const format::Index& index) {
  json recoverables = json::array();
  for (const format::IndexRecoverable& recoverable : index.recoverables) {
    json tensors = json::array();
    for (const format::IndexTensor& tensor : recoverable.tensors) {
      tensors.push_back({{"key", tensor.key},
                         {"dtype", to_string(tensor.dtype)},
                         {"shape", tensor.shape},
                         {"bytes", format::tensor_bytes(tensor.dtype, tensor.shape).value()}});
    }
    recoverables.push_back({{"name", recoverable.name},
                            {"values", json_of(recoverable.values)},
                            {"tensors", tensors}});
  }
  return {{"id", index.id},
          {"name", index.name},
          {"sequence", index.sequence},
          {"created_unix_ns", index.created_unix_ns},
          {"pinned", false},
          {"meta", json_of(index.meta.map())},
          {"recoverables", recoverables}};
}

/// Files and what the library's decoders make of them, for tests/reader/check_vectors.py.
class Answers {
 public:
  explicit Answers(const std::filesystem::path& directory)
      : directory_(directory), table_(directory / "table.tsv"), rows_(table_) {
    rows_ << "headings\n";
  }
  void add(const std::string& kind, const std::filesystem::path& file, const Bytes& bytes) {
    rows_ << file.native() << '\t' << kind << '\t' << format::decode_vector(kind, bytes, file).code
          << "\t-\t" << base::xxh3_128(bytes).to_hex() << "\t-\n";
  }
  void add(const std::string& kind, const Bytes& bytes) {
    const std::filesystem::path file = directory_ / std::to_string(count_++);
    write_file(file, bytes);
    add(kind, file, bytes);
  }
  /// The table, complete.
  const std::filesystem::path& finish() {
    rows_.close();
    return table_;
  }

 private:
  std::filesystem::path directory_;
  std::filesystem::path table_;
  std::ofstream rows_;
  std::size_t count_ = 0;
};

class Reader : public ::testing::Test {
 protected:
  void SetUp() override {
    python_ = python();
    if (python_.empty())
      GTEST_SKIP() << "there is no Python with xxhash and zstandard (Debian: "
                      "python3-xxhash, python3-zstandard)";
  }

  /// What the reader prints; it must end with `code`.
  std::string read(const std::vector<std::string>& words, int code = 0) {
    return run(CAIRN_SOURCE_DIR "/format/reader/cairn_reader.py", words, code);
  }
  std::string run(const std::string& program, const std::vector<std::string>& words, int code) {
    std::string command = python_ + " " + program;
    for (const std::string& word : words) command += " " + shell_word(word);
    command += " 2>" + shell_word(notes_);
    std::FILE* pipe = ::popen(command.c_str(), "r");
    std::string out;
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) out += static_cast<char>(c);
    const int status = ::pclose(pipe);
    EXPECT_EQ(WEXITSTATUS(status), code) << command << "\n" << notes();
    return out;
  }

  void expect_same(Answers& answers) {
    const std::string printed = run(CAIRN_SOURCE_DIR "/tests/reader/check_vectors.py",
                                    {CAIRN_SOURCE_DIR, answers.finish()}, 0);
    EXPECT_NE(printed.find(", 0 otherwise"), std::string::npos) << printed;
  }

  std::string notes() const {
    std::ifstream stream(notes_);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  /// Every checkpoint of the store, byte for byte.
  void expect_agreement() {
    std::vector<std::string> names;
    {
      const Store store(directory_, {.read_only = true});
      for (const CheckpointInfo& info : store.checkpoints()) {
        names.push_back(info.name);
        const Checkpoint checkpoint = store.open(info.id);
        EXPECT_EQ(json::parse(read({"show", pack_, info.name})), json_of(checkpoint));
        for (const auto& [name, bytes] : contents(checkpoint)) {
          const std::string got = read({"extract", pack_, info.name, name});
          const auto got_bytes = std::as_bytes(std::span(got));
          EXPECT_TRUE(std::equal(got_bytes.begin(), got_bytes.end(), bytes.begin(), bytes.end()))
              << name;
        }
      }
    }
    std::string listed = read({"ls", pack_});
    for (const std::string& name : names) {
      const std::size_t at = listed.find("\t" + name + "\t");
      ASSERT_NE(at, std::string::npos) << name << " in order in\n" << listed;
      listed.erase(0, at);
    }
    EXPECT_EQ(listed.find('\n'), names.empty() ? std::string::npos : listed.size() - 1);
  }

  /// What the reader finds is what `cairn salvage` takes over, but for ids and sequences.
  void expect_what_salvage_finds(std::size_t checkpoints) {
    const std::filesystem::path out = scratch_ / "salvaged";
    std::filesystem::remove_all(out);
    salvage(pack_, out);
    const Store store(out, {.read_only = true});
    EXPECT_EQ(store.checkpoints().size(), checkpoints);
    for (const CheckpointInfo& info : store.checkpoints()) {
      const Checkpoint checkpoint = store.open(info.id);
      json expected = json_of(checkpoint);
      json shown = json::parse(read({"show", pack_, info.name}));
      for (json* of : {&expected, &shown}) {
        of->erase("id");
        of->erase("sequence");
      }
      EXPECT_EQ(shown, expected);
      for (const auto& [name, bytes] : contents(checkpoint)) {
        const std::string got = read({"extract", pack_, info.name, name});
        const auto got_bytes = std::as_bytes(std::span(got));
        EXPECT_TRUE(std::equal(got_bytes.begin(), got_bytes.end(), bytes.begin(), bytes.end()))
            << name;
      }
    }
    const std::string listed = read({"ls", pack_});
    EXPECT_EQ(std::count(listed.begin(), listed.end(), '\n'),
              static_cast<std::ptrdiff_t>(checkpoints))
        << listed;
  }

  /// Zeros where the parts begin.
  void destroy(std::span<const std::uint64_t> offsets, std::size_t bytes) {
    Bytes file = read_file(pack_);
    for (const std::uint64_t offset : offsets) {
      std::fill_n(file.begin() + static_cast<std::ptrdiff_t>(offset), bytes, std::byte{0});
    }
    write_file(pack_, file);
  }
  void destroy_superblocks() { destroy(format::kSuperblockOffsets, format::kSuperblockBytes); }
  void destroy_slots() { destroy(format::kSlotOffsets, format::kSlotBytes); }
  void destroy_roots() {
    const Bytes file = read_file(pack_);
    std::vector<std::uint64_t> roots;
    for (std::size_t at = format::kDataBegin; at < file.size(); at += format::kAlignment) {
      if (file[at] == std::byte{0x89} && file[at + 12] == std::byte{2}) roots.push_back(at);
    }
    destroy(roots, 8);
  }

  std::string python_;
  ScratchDirectory scratch_;
  std::filesystem::path directory_ = scratch_ / "store";
  std::string pack_ = directory_ / "pack";
  std::string notes_ = scratch_ / "notes";
};

CheckpointState every_dtype() {
  std::vector<TensorInput> tensors;
  for (std::uint8_t number = 1; const auto dtype = dtype_from_number(number); ++number) {
    // 8 x 3 elements fill whole bytes whatever the dtype.
    tensors.push_back(tensor("dtype-" + std::string(to_string(*dtype)), *dtype, {8, 3},
                             pattern(number, 3 * bits_per_element(*dtype))));
  }
  tensors.push_back(tensor("scalar", DType::kF64, {}, pattern(50, 8)));
  tensors.push_back(tensor("empty", DType::kI16, {4, 0, 7}, {}));
  tensors.push_back(tensor("", pattern(51, 5)));
  tensors.push_back(tensor("k\xC3\xA4se/'quoted'", pattern(52, 100)));
  return model(std::move(tensors));
}

TEST_F(Reader, AgreesOnEveryDTypeAndShape) {
  Store(directory_).save(every_dtype());
  expect_agreement();
}

TEST_F(Reader, AgreesOnSmallTensorsLaidTogetherAndLargeOnesThatAreCut) {
  std::vector<TensorInput> tensors;
  for (std::size_t i = 0; i < 12; ++i) {
    tensors.push_back(tensor("small-" + std::to_string(i), pattern(i, 1 + 2500 * i)));
  }
  tensors.push_back(tensor("large", pattern(30, 400'001)));
  tensors.push_back(tensor("limit", pattern(31, 65'536)));
  tensors.push_back(tensor("zeros", Bytes(300'000)));  // one chunk, listed several times
  Store(directory_, {.chunk_bytes = 65'536}).save(model(std::move(tensors)));
  expect_agreement();
}

TEST_F(Reader, AgreesOnCompressedChunks) {
  std::vector<TensorInput> tensors;
  for (const DType dtype : {DType::kU8, DType::kBF16, DType::kF32, DType::kF64, DType::kI16}) {
    const std::int64_t count = 300'000 * 8 / bits_per_element(dtype);
    tensors.push_back(tensor("large-" + std::string(to_string(dtype)), dtype, {count},
                             coarse_pattern(count, 300'000)));
  }
  tensors.push_back(tensor("small", coarse_pattern(40, 9'001)));
  Store store(directory_, {.compression = Compression::kZstd});
  store.save(model(std::move(tensors)));
  EXPECT_EQ(store.chunk_stats().compressed_chunks, store.stat().chunks);
  expect_agreement();
}

TEST_F(Reader, AgreesOnValuesAndMetadata) {
  CheckpointState state = model_of(1, 1, 10);
  state[0].values = {{"bool", false},
                     {"least", std::numeric_limits<std::int64_t>::min()},
                     {"nan", std::numeric_limits<double>::quiet_NaN()},
                     {"minus zero", -0.0},
                     {"bytes", MetaValue::Bytes(pattern(4, 7))},
                     {"", MetaValue::List{1, 2.5, "three", MetaValue::Map{{"k", true}}}},
                     {"none", MetaValue::Map{}}};
  state.push_back({.name = "no tensors", .values = {{"epoch", 3}}});
  state.push_back({.name = "nothing at all"});
  MetaValue deep = 1;
  for (int i = 0; i < MetaValue::kMaxDepth; ++i) deep = MetaValue::List{deep};
  Store(directory_).save(state, {.meta = {{"deep", deep}, {"h\xC3\xA4", "\xF0\x9F\x97\xBB"}}});
  expect_agreement();
}

TEST_F(Reader, AgreesOnAStoreThatHasBeenWorkedOn) {
  {
    Store store(directory_);
    for (std::uint64_t i = 1; i <= 7; ++i) {
      store.save(model_of(i, 3, 70'000), {.name = i % 3 == 0 ? "again" : "", .replace = true});
    }
    const std::uint64_t gone = 2;
    const std::uint64_t pinned = 4;
    store.remove({&gone, 1});
    store.set_pinned({&pinned, 1}, true);
  }
  expect_agreement();
}

TEST_F(Reader, AgreesOnAnEmptyStore) {
  { const Store store(directory_); }
  expect_agreement();
}

TEST_F(Reader, ScansWhenNoSlotIsLeft) {
  Store(directory_).save(model_of(1, 2, 1000), {.name = "one"});
  destroy_slots();
  EXPECT_NE(read({"ls", pack_}).find("\tone\t"), std::string::npos);
  destroy_roots();  // what is left is an index
  EXPECT_NE(read({"ls", pack_}).find("\tone\t"), std::string::npos);
  EXPECT_NE(notes().find("may have been deleted"), std::string::npos);
}

TEST_F(Reader, FindsWhatSalvageFindsWhenBothSuperblocksAreLost) {
  // A tensor that holds another store: its slots and records do not stand where they say.
  Store(scratch_ / "other").save(model_of(9, 2, 5000), {.name = "foreign"});
  const Bytes other = read_file(scratch_ / "other" / "pack");
  {
    Store store(directory_, {.chunk_bytes = 65'536, .compression = Compression::kZstd});
    for (std::uint64_t i = 1; i <= 5; ++i) {
      store.save(model_of(i, 3, 30'000), {.name = "c" + std::to_string(i)});
    }
    store.save(model({tensor("large", coarse_pattern(6, 300'000)), tensor("pack", other)}),
               {.meta = {{"loss", 0.25}}, .name = "large"});
    const std::uint64_t gone = 2;
    const std::uint64_t pinned = 4;
    store.remove({&gone, 1});
    store.set_pinned({&pinned, 1}, true);
  }
  destroy_superblocks();
  expect_what_salvage_finds(5);
  EXPECT_NE(notes().find("neither superblock is good"), std::string::npos);
  destroy_slots();
  expect_what_salvage_finds(5);
  destroy_roots();
  expect_what_salvage_finds(6);  // that which was removed is found, too
  destroy({{131072}}, std::filesystem::file_size(pack_) - 131072);
  EXPECT_EQ(error_of([&] { salvage(pack_, scratch_ / "none"); }).code(), ErrorCode::kDamaged);
  read({"ls", pack_}, 3);
}

TEST_F(Reader, BelievesTheUuidThatMostSlotsCarryAsSalvageDoes) {
  {
    Store store(directory_);
    for (std::uint64_t i = 1; i <= 5; ++i)
      store.save(model_of(i, 1, 1000), {.name = "c", .replace = true});
  }
  const auto pack = pack::PackFile::open(pack_, io::File::Access::kReadWrite);
  const auto table = pack.read_slots();
  const auto give_away = [&](std::size_t number) {  // to the store whose UUID is the least
    pack.file().write(format::kSlotOffsets[number],
                      format::encode_slot(table.slots[number].value(), format::Uuid{}));
  };
  const auto newest_first = table.newest_first();
  ASSERT_EQ(newest_first.size(), 4U);
  destroy_superblocks();
  give_away(newest_first[3]->number);
  expect_what_salvage_finds(1);
  give_away(newest_first[2]->number);
  expect_what_salvage_finds(0);
}

// A commit whose catalog was lost stands beside the one that followed instead. When that one's
// root is lost, its parent is next, although the other is newer and whole.
TEST_F(Reader, TakesTheParentOfALostRootBeforeANewerCommitThatNeverHappened) {
  Store(directory_).save(model_of(1, 1, 1000), {.name = "parent"});
  const Bytes catalog = read_file(directory_ / "catalog.mdb");
  Store(directory_).save(model_of(2, 1, 1000), {.name = "stranded"});
  write_file(directory_ / "catalog.mdb", catalog);
  {
    // By hand: a store that is opened would supersede the other first.
    const auto pack = pack::PackFile::open(pack_, io::File::Access::kReadWrite);
    const auto slots = pack.read_slots();
    format::Slot slot = *slots.newest_first()[1];
    EXPECT_EQ(pack.read_root(slot.root, slot.data_end).checkpoints.size(), 1U);
    slot.parent_sequence = slot.sequence;
    slot.parent_digest = slot.root.digest;
    slot.sequence += 2;
    slot.number = (slots.newest_first()[0]->number + 1) % 4;
    slot.root.digest = {};
    pack.write_slot(slot);
  }
  expect_what_salvage_finds(1);
  EXPECT_NE(read({"ls", pack_}).find("\tparent\t"), std::string::npos);
}

// What the commit before the newest holds was durable: where it does not verify it has rotted.
TEST_F(Reader, TakesTheParentOfATornCommitThoughItHasRottedAsSalvageDoes) {
  std::vector<std::uint64_t> chunks;
  {
    Store store(directory_);
    for (const char* name : {"whole", "rotten", "torn"}) {
      const CheckpointState state = model_of(static_cast<std::uint64_t>(name[0]), 1, 90'000);
      const auto id = store.save(state, {.name = name}).saved.id;
      chunks.push_back(store.open(id).chunks(0).front().pack_offset);
    }
  }
  flip_byte(pack_, chunks[1]);
  flip_byte(pack_, chunks[2]);
  const SalvageReport report = salvage(pack_, scratch_ / "salvaged");
  ASSERT_EQ(report.lost.size(), 1U);
  EXPECT_EQ(report.lost[0].name, "rotten");
  ASSERT_EQ(report.saved.size(), 1U);
  const std::string listed = read({"ls", pack_});
  EXPECT_NE(listed.find("\twhole\t"), std::string::npos);
  EXPECT_NE(listed.find("\trotten\t"), std::string::npos);
  EXPECT_EQ(listed.find("\ttorn\t"), std::string::npos);
  read({"extract", pack_, "rotten", "model/layer.0"}, 3);
}

/// A byte changed, a word moved by a little, bytes taken out or put in, or an end cut off.
Bytes mutated(Bytes bytes, std::mt19937& random) {
  if (bytes.size() < 8) return bytes;
  const auto at = static_cast<std::ptrdiff_t>(random() % (bytes.size() - 4));
  switch (random() % 5) {
    case 0:
      bytes[static_cast<std::size_t>(at)] ^= std::byte{1} << random() % 8;
      break;
    case 1: {
      const auto word = std::span(bytes).subspan(static_cast<std::size_t>(at) / 4 * 4, 4);
      const auto by = static_cast<std::uint32_t>(random() % 33);
      base::store_le<std::uint32_t>(word, 0, base::load_le<std::uint32_t>(word, 0) + by - 16);
      break;
    }
    case 2:
      bytes.erase(bytes.begin() + at, bytes.begin() + at + 1 + random() % 4);
      break;
    case 3:
      bytes.insert(bytes.begin() + at, 1 + random() % 8, std::byte{0});
      break;
    default:
      bytes.resize(static_cast<std::size_t>(at));
  }
  return bytes;
}

// What fuzzing found takes other ways through the decoders than any test that was thought of. Parts
// that end with a digest are left as they are: any change would meet that first.
TEST_F(Reader, AnswersEveryInputOfTheFuzzCorporaWithTheSameCode) {
  constexpr int kMutants = 4;
  const std::filesystem::path corpora = std::filesystem::path(CAIRN_SOURCE_DIR) / "fuzz/corpus";
  Answers answers(scratch_.path());
  for (const auto& [target, kind] : {std::pair("superblock", "superblock"),
                                     {"slot", "slot"},
                                     {"record", "index-record"},
                                     {"record", "root-record"},
                                     {"index", "index"},
                                     {"root", "root"}}) {
    for (const auto& file : std::filesystem::directory_iterator(corpora / target)) {
      const Bytes bytes = read_file(file.path());
      answers.add(kind, file.path(), bytes);
      if (std::string_view(kind) != "index" && std::string_view(kind) != "root") continue;
      std::mt19937 random(static_cast<unsigned>(bytes.size()));  // the same each time
      for (int i = 0; i < kMutants; ++i) answers.add(kind, mutated(bytes, random));
    }
  }
  expect_same(answers);
}

TEST_F(Reader, HasTheSameLimits) {
  Answers answers(scratch_.path());
  // A map of one text weighs 105 besides the text.
  for (const std::size_t weight : {1'048'576, 1'048'577}) {
    format::RawIndex index({.id = 1, .sequence = 1, .name = "one"});
    index.meta = {{"k", std::string(weight - 105, 't')}};
    const Bytes payload = index.payload();
    EXPECT_EQ(format::decode_vector("index", payload, {}).code,
              weight > 1'048'576 ? "damaged" : "ok");
    answers.add("index", payload);
  }
  for (const std::size_t count : {65'536, 65'537}) {
    format::RawIndex index({.id = 1, .sequence = 1, .name = "one"});
    for (std::size_t i = 0; i < count; ++i) {
      index.recoverables.push_back({.name = std::to_string(100'000 + i)});
    }
    const Bytes payload = index.payload();
    EXPECT_EQ(format::decode_vector("index", payload, {}).code, count > 65'536 ? "damaged" : "ok");
    answers.add("index", payload);
  }
  // Chunks of one byte at one place, and tensors that run through all of them.
  constexpr std::size_t kTensors = 4096;
  for (const std::size_t chunks : {4096, 4097}) {
    format::RawIndex index({.id = 1, .sequence = 1, .name = "one"});
    index.chunks.assign(chunks, fb::Chunk({}, format::kDataBegin, 1, 1, 0, 0));
    format::RawRecoverable& recoverable = index.recoverables.emplace_back();
    recoverable.name = "model";
    for (std::size_t i = 0; i < kTensors; ++i) {
      recoverable.tensors.emplace_back(4, static_cast<std::uint8_t>(DType::kU8), 1, 0, 0, 0);
      recoverable.keys += std::to_string(1000 + i);
      recoverable.dims.push_back(static_cast<std::int64_t>(chunks));
    }
    const Bytes payload = index.payload();
    EXPECT_EQ(format::decode_vector("index", payload, {}).code, chunks > 4096 ? "damaged" : "ok");
    answers.add("index", payload);
  }
  expect_same(answers);
}

TEST_F(Reader, ReadsTheSameFromEveryValidIndexOfTheVectors) {
  const std::string program = scratch_ / "show_index.py";
  std::ofstream(program) << "import json, sys\n"
                            "sys.path.insert(0, sys.argv[1])\n"
                            "import cairn_reader as reader\n"
                            "index = reader.Index(open(sys.argv[2], 'rb').read(), 2**32)\n"
                            "print(json.dumps(reader.Checkpoint(None, index).json()))\n";
  std::size_t count = 0;
  for (const auto& file :
       std::filesystem::directory_iterator(CAIRN_SOURCE_DIR "/format/vectors/valid")) {
    const std::string name = file.path().filename();
    if (!name.starts_with("index-") || name.starts_with("index-record")) continue;
    ++count;
    const format::Index index = format::decode_index(read_file(file.path()), format::kVectorsEnd);
    EXPECT_EQ(json::parse(run(program, {CAIRN_SOURCE_DIR "/format/reader", file.path()}, 0)),
              json_of(index))
        << name;
  }
  EXPECT_GE(count, 7U);
}

TEST_F(Reader, GivesNoDamagedBytes) {
  {
    Store store(directory_);
    store.save(model({tensor("good", pattern(1, 70'000)), tensor("rotten", pattern(2, 70'000))}),
               {.name = "one"});
    // The parent's root is not verified again: the damage costs one tensor, not the commit.
    store.save(model_of(3, 1, 10), {.name = "two"});
  }
  const Store store(directory_, {.read_only = true});
  const Checkpoint checkpoint = store.open(1);
  flip_byte(pack_, checkpoint.chunks(*checkpoint.find_tensor("model", "rotten"))[0].pack_offset);
  EXPECT_EQ(read({"extract", pack_, "one", "model/rotten"}, 3), "");
  EXPECT_EQ(read({"extract", pack_, "one", "model/good"}).size(), 70'000U);
  read({"extract", pack_, "one", "model/none"}, 4);
  read({"show", pack_, "three"}, 4);
}

}  // namespace
}  // namespace cairn
