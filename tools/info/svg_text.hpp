// Text in a drawing: width and line breaks.
#pragma once

#include <string>
#include <vector>

namespace efa {

std::string escaped(const std::string& text);

// Width in units of the drawing, at a font size of `size`. An upper bound for the common sans-serif fonts: the viewer's
// font is unknown, so the widest of them, DejaVu Sans, is assumed.
int text_width(const std::string& text, int size, bool bold = false);

// Lines of at most `width`, broken between words.
std::vector<std::string> wrapped(const std::string& text, int size, int width);

}  // namespace efa
