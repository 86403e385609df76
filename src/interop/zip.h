// The directory of a ZIP archive whose entries are stored without compression, as PyTorch's are.
#pragma once

#include "io/file.h"

#include <cstdint>
#include <map>
#include <string>

namespace cairn::interop {

/// Where an entry's bytes lie in the archive.
struct ZipEntry {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

using ZipDirectory = std::map<std::string, ZipEntry, std::less<>>;

/// True for a file that begins as a ZIP archive does.
bool looks_like_zip(const io::File& file);

/// All entries, by name. Every range lies inside the file.
///
/// Errors: damaged; truncated; invalid_argument for entries that are compressed or encrypted.
/// Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3 (ZIP64).
ZipDirectory read_zip_directory(const io::File& file);

}  // namespace cairn::interop
