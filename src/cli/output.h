// Where a command's results go: data to stdout, everything else to stderr.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::cli {

/// Stdout could not be written. A reader that went away is no news: then nothing is said.
struct OutputFailed {
  int system_errno = 0;
};

/// Makes sure that descriptors 0, 1 and 2 are taken, so that no file of a store becomes the
/// standard output of a tool that was started without one; and that a closed pipe is an error, not
/// a signal.
void prepare_standard_streams();

/// Colours of a terminal.
enum class Style { kHeading, kGood, kBad };

class Output {
 public:
  Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void set_quiet(bool quiet) { quiet_ = quiet; }
  void set_json(bool as_json) { as_json_ = as_json; }

  /// Data, for stdout. Errors: OutputFailed, here or later.
  void write(std::string_view text);
  void line(std::string_view text);
  /// Hands everything on to the system. Errors: OutputFailed.
  void flush();

  /// A line for stderr that tells the user something; left out with --quiet.
  void note(std::string_view text);

  /// Whether passing words may be shown: stderr is a terminal, and nobody said --quiet or --json.
  bool shows_status() const { return status_columns_ > 0 && !quiet_ && !as_json_; }
  /// A line on the terminal that the next one, a note or an error takes the place of.
  void show_status(std::string_view text);
  void clear_status();

  /// `text` in colour, where stdout is a terminal that wants it.
  std::string styled(std::string_view text, Style style) const;
  /// The terminal's width, or 0 when stdout is none: then nothing is cut.
  std::size_t terminal_columns() const { return columns_; }

 private:
  bool quiet_ = false;
  bool as_json_ = false;
  bool color_ = false;
  std::size_t columns_ = 0;
  std::size_t status_columns_ = 0;  // of the terminal behind stderr; 0: none
  bool has_status_ = false;
  std::string buffer_;
};

/// One line for stderr: "cairn: MESSAGE".
void print_error(std::string_view message);

/// Rows under headings, columns aligned; on a terminal as wide as that, with text cut.
class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string_view heading;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  /// Cells must be printable.
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  void print(Output& output) const;

 private:
  void fit(std::vector<std::size_t>& widths, std::size_t columns) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace cairn::cli
