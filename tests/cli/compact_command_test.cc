#include "cli/tool.h"

#include <cairn/store.h>

namespace cairn::testing {
namespace {

using CompactTool = ToolTest;

TEST_F(CompactTool, GivesTheSpaceOfDeletedCheckpointsBack) {
  import({"--name", "a"}, std::string(300'000, 'a'));
  import({"--name", "b"}, std::string(300'000, 'b'));
  done({"rm", store_, "b"});
  const auto plan = done({"compact", store_, "--dry-run", "--json"}).json();
  EXPECT_EQ(plan.at("dry_run"), true);
  EXPECT_GE(plan.at("free_bytes"), 300'000);
  const auto report = done({"compact", store_, "--json"}).json();
  EXPECT_LE(report.at("pack_bytes").get<int>() + 300'000, report.at("pack_bytes_before"));
  EXPECT_EQ(report.at("oldest_reader_pid"), nullptr);
  EXPECT_EQ(names(), (Names{"a"}));
  EXPECT_EQ(done({"verify", store_, "--json"}).json().at("ok"), true);
}

TEST_F(CompactTool, ADryRunChangesNothing) {
  import();
  const auto before = done({"stat", store_, "--json"}).json();
  done({"compact", store_, "--dry-run"});
  EXPECT_EQ(done({"stat", store_, "--json"}).json(), before);
}

TEST_F(CompactTool, CompressesWhatIsStoredWhenTold) {
  import({"--name", "a"}, std::string(300'000, 'a'));
  const auto report = done({"compact", store_, "--compress", "--json"}).json();
  EXPECT_EQ(report.at("compressed_chunks"), 1);
  EXPECT_LT(report.at("allocated_bytes"), 300'000);
  EXPECT_EQ(done({"stat", store_, "--json"}).json().at("compression"), "zstd");
  EXPECT_EQ(done({"verify", store_, "--json"}).json().at("ok"), true);
  EXPECT_EQ(cairn({"compact", store_, "--compress", "--dry-run"}).code, 2);
}

TEST_F(CompactTool, NamesTheReaderThatHoldsSpaceBack) {
  import();
  const Store store(store_, {.read_only = true});
  const Checkpoint held = store.open(1);
  import({"--keep", "1"}, "efgh");
  const std::string pid = std::to_string(::getpid());
  EXPECT_NE(done({"compact", store_}).err.find("process " + pid), std::string::npos);
}

TEST_F(CompactTool, IsBusyWhileAJobWrites) {
  import();
  const Store job(store_);
  expect_failure(5, "pid", {"compact", store_});
}

}  // namespace
}  // namespace cairn::testing
