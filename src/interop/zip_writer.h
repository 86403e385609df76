// Writes ZIP archives whose entries are stored without compression, any number and length of them.
//
// An entry's header stands before its bytes and holds their checksum, so it is written with zeros
// first and mended when all bytes are there. ZIP64 is used for what does not fit otherwise, and
// only there: old programs read what they can.
#pragma once

#include "interop/export_file.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::interop {

/// Numbers up to here stand in the header itself.
struct ZipLimits {
  std::uint64_t bytes = 0xFFFFFFFE;
  std::uint64_t entries = 0xFFFE;
};

class ZipWriter {
 public:
  /// `limits` are there for tests.
  explicit ZipWriter(ExportFile& file, ZipLimits limits = {}) : file_(file), limits_(limits) {}

  /// Begins an entry of `bytes` bytes. Errors: invalid_argument (the name is too long).
  void begin_entry(std::string_view name, std::uint64_t bytes);
  /// The next bytes of the entry.
  void append(std::span<const std::byte> bytes);
  /// Mends the headers and adds the directory. Every entry has all its bytes.
  void finish();

 private:
  struct Entry {
    std::string name{};
    std::uint64_t bytes = 0;
    std::uint64_t offset = 0;  // of its header
    std::uint32_t crc = 0;
  };

  ExportFile& file_;
  ZipLimits limits_;
  std::vector<Entry> entries_;
};

}  // namespace cairn::interop
