{# The window as two UTC datetimes, `start` and `end`. They are the vars window_start and
   window_end. Without those vars the window is yesterday in the time zone of the var timezone. #}
{% macro export_window() -%}
    {%- set start = var('window_start', none) -%}
    {%- set end = var('window_end', none) -%}
    {%- if not start and not end -%}
        {%- do return(yesterday(run_started_at, var('timezone', 'UTC'))) -%}
    {%- endif -%}
    {%- if not start or not end -%}
        {%- do exceptions.raise_compiler_error(
            'Give both vars, window_start and window_end, or neither (then it is yesterday).'
        ) -%}
    {%- endif -%}
    {%- set window = {
        'start': utc_datetime('window_start', start),
        'end': utc_datetime('window_end', end),
    } -%}
    {%- if window.start >= window.end -%}
        {%- do exceptions.raise_compiler_error(
            'The var window_end, ' ~ end ~ ', must be later than window_start, ' ~ start ~ '.'
        ) -%}
    {%- endif -%}
    {%- do return(window) -%}
{%- endmacro %}
