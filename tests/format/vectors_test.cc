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

// Readers elsewhere are tested with these, so none ever changes or goes; others may come. This
// holds the list's digest, the list that of each vector, and what comes of it. How to add one:
// format/vectors/README.md.
TEST(Vectors, OfVersion1NeverChange) {
  const std::string list = read_text(kDirectory / "frozen-1.tsv");
  EXPECT_EQ(base::xxh3_128(std::as_bytes(std::span(list))).to_hex(),
            "3b4767d3fc7364d3cbdfe7289e39ae59");
  std::set<std::string> rows;
  for (const Row& row : table()) {
    rows.insert(row.file + "\t" + row.kind + "\t" + row.outcome + "\t" + row.offset + "\t" +
                row.digest);
  }
  std::istringstream lines(list);
  std::string line;
  std::getline(lines, line);  // headings
  std::size_t count = 0;
  for (; std::getline(lines, line); ++count) EXPECT_TRUE(rows.contains(line)) << line;
  EXPECT_GT(count, 230U);
}

}  // namespace
}  // namespace cairn::format
