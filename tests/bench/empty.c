/*
 * empty: a library without code. The time that a start takes longer with it is that of the loader.
 */
extern const char empty[];
const char empty[] = "";
