// Walks the table of format/vectors. tests/reader/check_vectors.py does the same with the reader in
// Python.
#include "vectors.h"

#include "base/digest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

namespace cairn::format {
namespace {

const std::filesystem::path kDirectory = CAIRN_SOURCE_DIR "/format/vectors";

std::string read_text(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

struct Row {
  std::string file, kind, outcome, offset, digest, what;
};

std::vector<Row> table() {
  std::istringstream lines(read_text(kDirectory / "table.tsv"));
  std::vector<Row> rows;
  std::string line;
  std::getline(lines, line);  // headings
  while (std::getline(lines, line)) {
    std::istringstream cells(line);
    Row& row = rows.emplace_back();
    for (std::string* cell :
         {&row.file, &row.kind, &row.outcome, &row.offset, &row.digest, &row.what}) {
      std::getline(cells, *cell, '\t');
    }
  }
  return rows;
}

TEST(Vectors, AreDecodedAsTheTableSays) {
  const auto rows = table();
  ASSERT_GT(rows.size(), 80U);
  for (const Row& row : rows) {
    const std::string text = read_text(kDirectory / row.file);
    const auto bytes = std::as_bytes(std::span(text));
    EXPECT_EQ(base::xxh3_128(bytes).to_hex(), row.digest) << row.file;
    const VectorOutcome outcome = decode_vector(row.kind, bytes, kDirectory / row.file);
    EXPECT_EQ(outcome.code, row.outcome) << row.file << ": " << row.what;
    EXPECT_EQ(outcome.offset, row.offset) << row.file << ": " << row.what;
  }
}

TEST(Vectors, AllStandInTheTable) {
  std::set<std::string> listed;
  for (const Row& row : table()) listed.insert(row.file);
  std::set<std::string> found;
  for (const char* part : {"valid", "invalid"}) {
    for (const auto& entry : std::filesystem::directory_iterator(kDirectory / part)) {
      found.insert(std::string(part) + "/" + entry.path().filename().string());
    }
  }
  EXPECT_EQ(found, listed);
}

// The table holds the digest of each vector, and this the table's: who changes one means it.
TEST(Vectors, ChangeOnPurposeOnly) {
  const std::string text = read_text(kDirectory / "table.tsv");
  EXPECT_EQ(base::xxh3_128(std::as_bytes(std::span(text))).to_hex(),
            "81a59a8cd6d15f9f1a3a4e25f3bcd7a6");
}

}  // namespace
}  // namespace cairn::format
