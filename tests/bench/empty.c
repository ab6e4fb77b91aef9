/*
 * empty: a library without code. Preloading it shows the loader's share of the cost of a start.
 */
extern const char empty[];
const char empty[] = "";
