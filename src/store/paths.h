// The files of a store.
#pragma once

#include <filesystem>

namespace cairn::store {

struct StorePaths {
  explicit StorePaths(std::filesystem::path store_directory)
      : directory(std::move(store_directory)),
        pack(directory / "pack"),
        pack_tmp(directory / "pack.tmp"),
        catalog(directory / "catalog.mdb"),
        catalog_new(directory / "catalog.mdb.new"),
        lock(directory / "lock") {}

  std::filesystem::path directory;
  std::filesystem::path pack;
  std::filesystem::path pack_tmp;  // a pack that is being made
  std::filesystem::path catalog;
  std::filesystem::path catalog_new;  // a catalog that is being made
  std::filesystem::path lock;
};

}  // namespace cairn::store
