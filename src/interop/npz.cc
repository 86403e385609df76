// A ZIP archive with a .npy file for each tensor.
#include "interop/export_file.h"
#include "interop/zip_writer.h"

#include <cairn/numpy.h>

#include <vector>

namespace cairn {

void write_npz(const Checkpoint& checkpoint, const std::filesystem::path& path,
               const NumpyExportOptions& options) {
  interop::check_destination(path, options.overwrite);
  interop::check_recoverable(checkpoint, options.recoverable);
  const bool prefixed = interop::needs_recoverable(checkpoint, options.recoverable);
  std::vector<std::size_t> positions;
  for (std::size_t i = 0; i < checkpoint.tensors().size(); ++i) {
    const TensorInfo& tensor = checkpoint.tensors()[i];
    if (!options.recoverable.empty() && tensor.recoverable != options.recoverable) continue;
    npy_header(tensor);  // refuses what cannot be written before anything is
    positions.push_back(i);
  }

  interop::ExportFile file(path);
  interop::ZipWriter zip(file);
  std::size_t begun = 0;
  const auto begin_up_to = [&](std::size_t end) {
    for (; begun < end; ++begun) {
      const TensorInfo& tensor = checkpoint.tensors()[positions[begun]];
      const std::string header = npy_header(tensor);
      zip.begin_entry(
          interop::exported_name(prefixed ? tensor.recoverable : std::string_view(), tensor.key) +
              ".npy",
          header.size() + tensor.bytes);
      zip.append(std::as_bytes(std::span(header)));
    }
  };
  std::uint64_t total_bytes = 0;
  for (const std::size_t position : positions) total_bytes += checkpoint.tensors()[position].bytes;
  interop::TensorReader(checkpoint, options.progress, total_bytes)
      .for_each_piece(positions, [&](std::size_t i, std::span<const std::byte> bytes) {
        begin_up_to(i + 1);
        zip.append(bytes);
      });
  begin_up_to(positions.size());  // empty ones at the end
  zip.finish();
  file.publish();
}

}  // namespace cairn
