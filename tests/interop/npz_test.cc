// NumPy's files. What they hold is read back with Python's own zipfile, and with NumPy where there
// is one.
#include "interop/export_file.h"
#include "interop/safetensors_file.h"
#include "interop/zip.h"
#include "interop/zip_writer.h"
#include "support/scratch.h"
#include "support/states.h"

#include <cairn/numpy.h>
#include <cairn/store.h>

#include <gtest/gtest.h>

#include <cstdlib>

namespace cairn {
namespace {

using interop::ExportFile;
using interop::ZipWriter;
using testing::Bytes;
using testing::error_of;
using testing::pattern;
using testing::ScratchDirectory;

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// Runs Python on a program in quotes of its own; its exit code.
int python(const std::string& program, const std::filesystem::path& file) {
  const std::string command = "python3 -c '" + program + "' '" + file.native() + "'";
  return std::system(command.c_str());
}

constexpr const char* kCheckWithZipfile =
    "import sys, zipfile\n"
    "archive = zipfile.ZipFile(sys.argv[1])\n"
    "assert archive.testzip() is None\n"
    "names = archive.namelist()\n"
    "assert names == [\"a\", \"\\u00e4/b\", \"empty\"], names\n"
    "assert archive.read(\"a\") == b\"123456789\" * 2\n";

class Zip : public ::testing::Test {
 protected:
  const ScratchDirectory scratch_;
  const std::filesystem::path path_ = scratch_ / "out.zip";

  void write(interop::ZipLimits limits) const {
    ExportFile file(path_);
    ZipWriter zip(file, limits);
    zip.begin_entry("a", 18);
    zip.append(as_bytes("123456789"));
    zip.append({});
    zip.append(as_bytes("123456789"));
    zip.begin_entry("\xC3\xA4/b", 1);
    zip.append(as_bytes("x"));
    zip.begin_entry("empty", 0);
    zip.finish();
    file.publish();
  }
  void expect_good() const {
    const auto file = io::File::open(path_, io::File::Access::kRead);
    const auto directory = interop::read_zip_directory(file);
    ASSERT_EQ(directory.size(), 3U);
    EXPECT_EQ(directory.at("a").bytes, 18U);
    std::string text(1, ' ');
    file.read_exactly(directory.at("\xC3\xA4/b").offset, std::as_writable_bytes(std::span(text)));
    EXPECT_EQ(text, "x");
    EXPECT_EQ(directory.at("empty").bytes, 0U);
    EXPECT_EQ(python(kCheckWithZipfile, path_), 0);
  }
};

TEST_F(Zip, IsReadByOthers) {
  write({});
  expect_good();
  EXPECT_EQ(testing::read_text(path_).find("PK\x06\x06"), std::string::npos);
}

TEST_F(Zip, OfLongEntriesIsZip64) {
  write({.bytes = 10});
  expect_good();
  EXPECT_NE(testing::read_text(path_).find("PK\x06\x06"), std::string::npos);
}

TEST_F(Zip, OfManyEntriesIsZip64) {
  write({.entries = 2});
  expect_good();
  EXPECT_NE(testing::read_text(path_).find("PK\x06\x06"), std::string::npos);
}

TEST_F(Zip, RefusesANameThatIsTooLong) {
  ExportFile file(path_);
  EXPECT_EQ(error_of([&] { ZipWriter(file).begin_entry(std::string(65536, 'x'), 0); }).code(),
            ErrorCode::kInvalidArgument);
}

class Npz : public ::testing::Test {
 protected:
  const ScratchDirectory scratch_;
  Store store_{scratch_ / "store"};
  const std::filesystem::path path_ = scratch_ / "out.npz";

  Checkpoint saved(CheckpointState state) { return store_.open(store_.save(state).saved.id); }
};

TEST_F(Npz, HoldsEveryTensorAsAFileOfNumPy) {
  CheckpointState state =
      testing::model({testing::tensor("a", DType::kF32, {2, 3}, pattern(1, 24)),
                      testing::tensor("b16", DType::kBF16, {4}, pattern(2, 8)),
                      testing::tensor("empty", DType::kI64, {0, 2}, {}),
                      testing::tensor("large", DType::kU8, {20'000'000}, pattern(3, 20'000'000)),
                      testing::tensor("scalar", DType::kF64, {}, pattern(4, 8))});
  const Checkpoint checkpoint = saved(state);
  write_npz(checkpoint, path_);
  const auto file = io::File::open(path_, io::File::Access::kRead);
  const auto directory = interop::read_zip_directory(file);
  EXPECT_EQ(directory.size(), 5U);
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    const auto entry = directory.at(std::string(tensor.key) + ".npy");
    const std::string header = npy_header(tensor);
    ASSERT_EQ(entry.bytes, header.size() + tensor.bytes);
    std::string begin(header.size(), ' ');
    file.read_exactly(entry.offset, std::as_writable_bytes(std::span(begin)));
    EXPECT_EQ(begin, header);
    Bytes bytes(tensor.bytes);
    file.read_exactly(entry.offset + header.size(), bytes);
    EXPECT_EQ(bytes, testing::contents(checkpoint).at("model/" + std::string(tensor.key)));
  }
  EXPECT_EQ(python("import sys, zipfile\n"
                   "assert zipfile.ZipFile(sys.argv[1]).testzip() is None\n"
                   "try: import numpy\n"
                   "except ImportError: sys.exit(0)\n"
                   "arrays = numpy.load(sys.argv[1])\n"
                   "assert arrays[\"a\"].shape == (2, 3) and arrays[\"a\"].dtype == \"<f4\"\n"
                   "assert arrays[\"b16\"].dtype == \"V2\"\n"
                   "assert arrays[\"b16\"].view(\"u2\").shape == (4,)\n"
                   "assert arrays[\"empty\"].shape == (0, 2)\n"
                   "assert arrays[\"scalar\"].shape == ()\n"
                   "assert arrays[\"large\"].shape == (20000000,)\n",
                   path_),
            0);
}

TEST_F(Npz, NamesTheRecoverableWhereThereAreSeveral) {
  CheckpointState state = testing::model({testing::tensor("w", pattern(1, 4))});
  state.push_back({.name = "other", .tensors = {testing::tensor("w", pattern(2, 4))}});
  const Checkpoint checkpoint = saved(state);
  const auto names = [&] {
    std::vector<std::string> found;
    const auto file = io::File::open(path_, io::File::Access::kRead);
    for (const auto& [name, entry] : interop::read_zip_directory(file)) found.push_back(name);
    return found;
  };
  write_npz(checkpoint, path_);
  EXPECT_EQ(names(), (std::vector<std::string>{"model/w.npy", "other/w.npy"}));
  write_npz(checkpoint, path_, {.recoverable = "other"});
  EXPECT_EQ(names(), std::vector<std::string>{"w.npy"});
  EXPECT_EQ(error_of([&] { write_npz(checkpoint, path_, {.recoverable = "none"}); }).code(),
            ErrorCode::kNotFound);
}

TEST_F(Npz, RefusesElementsOfLessThanAByte) {
  const Checkpoint checkpoint =
      saved(testing::model({testing::tensor("w", DType::kF4E2M1, {2}, pattern(1, 1))}));
  const Error error = error_of([&] { write_npz(checkpoint, path_); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(std::string(error.what()).find("\"model/w\""), std::string::npos) << error.what();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(Npz, AFailureLeavesNothing) {
  const Checkpoint checkpoint = saved(testing::model({testing::tensor("w", pattern(1, 100'000))}));
  testing::flip_byte(scratch_ / "store/pack", checkpoint.chunks(0).front().pack_offset);
  EXPECT_EQ(error_of([&] { write_npz(checkpoint, path_); }).code(), ErrorCode::kDamaged);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(scratch_.path()), {}), 1);
}

}  // namespace
}  // namespace cairn
