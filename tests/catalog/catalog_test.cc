#include "catalog/catalog.h"

#include "catalog/sample.h"

#include <cairn/error.h>

#include <gtest/gtest.h>

namespace cairn::catalog {
namespace {

using namespace sample;

TEST(Catalog, GivesBackWhatWasCommitted) {
  TemporaryDirectory directory;
  make_small_catalog(directory.file());
  const Catalog catalog = Catalog::open(directory.file(), Mode::kReadWrite);
  const Contents contents = contents_of(catalog.read());
  EXPECT_EQ(contents.checkpoints.size(), 9U);
  EXPECT_EQ(contents.chunks.size(), 36U);
  EXPECT_EQ(contents.free.size(), 9U);
}

TEST(Catalog, ServesALargeOne) {
  TemporaryDirectory directory;
  make_large_catalog(directory.file(), 30'000);
  const Catalog catalog = Catalog::open(directory.file(), Mode::kReadWrite);
  EXPECT_EQ(catalog.read().chunk_rows(), 30'000U - 4286U);
}

}  // namespace
}  // namespace cairn::catalog
