// A catalog file, opened as a store opens it: vetted, every row checked, read and changed. The
// script chooses the changes.
#include "catalog/catalog.h"

#include "image.h"
#include "mend.h"

namespace {

using namespace cairn;

void change_everything(const catalog::Catalog& catalog, fuzz::Script& script) {
  std::vector<catalog::CheckpointRow> checkpoints;
  std::vector<std::pair<catalog::ChunkKey, catalog::ChunkRow>> chunks;
  std::vector<catalog::FreeRow> free;
  {
    const catalog::ReadTransaction view = catalog.read();
    view.for_each_checkpoint([&](const auto& row) { checkpoints.push_back(row); });
    view.for_each_chunk([&](const auto& key, const auto& row) { chunks.emplace_back(key, row); });
    view.for_each_free([&](const auto& row) { free.push_back(row); });
    for (const catalog::CheckpointRow& row : checkpoints) {
      CAIRN_FUZZ_REQUIRE(view.checkpoint_by_name(row.name) == row.id);
      CAIRN_FUZZ_REQUIRE(view.checkpoint(row.id).has_value());
    }
  }
  catalog::WriteTransaction change = catalog.write();
  for (catalog::CheckpointRow& row : checkpoints) {
    const std::uint8_t what = script.byte();
    if (what % 3 == 0) change.erase_checkpoint(row.id);
    if (what % 3 == 1) {
      row.pinned = !row.pinned;
      change.put_checkpoint(row);
    }
  }
  for (const auto& [key, row] : chunks) {
    if (script.byte() % 2 == 0) change.erase_chunk(key);
  }
  for (const catalog::FreeRow& row : free) {
    if (script.byte() % 2 == 0) change.erase_free(row.offset);
  }
  change.put_info(change.info());
  change.commit();
}

}  // namespace

CAIRN_FUZZ_MEND_IMAGE(cairn::fuzz::mend_catalog);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const fuzz::Scratch scratch;
  const fuzz::Image image = fuzz::expand(fuzz::as_view(data, size));
  const auto path = scratch.fresh("catalog") / "catalog.mdb";
  fuzz::write_file(path, image.file);
  fuzz::Script script(image.script);
  fuzz::accepts([&] {
    const auto catalog = catalog::Catalog::open(
        path, script.byte() % 4 == 0 ? catalog::Mode::kReadOnly : catalog::Mode::kReadWrite);
    change_everything(catalog, script);
  });
  return 0;
}
