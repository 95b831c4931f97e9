{# The start of the quarter of an hour that contains an instant. Every window in every time zone
   consists of complete quarters. #}
{% macro quarter_start(expression) -%}
    {{ return(adapter.dispatch('quarter_start')(expression)) }}
{%- endmacro %}

{% macro default__quarter_start(expression) -%}
    time_bucket(interval 15 minute, {{ expression }})
{%- endmacro %}

{% macro postgres__quarter_start(expression) -%}
    date_bin('15 minutes', {{ expression }}, timestamp with time zone '2000-01-01 00:00:00+00')
{%- endmacro %}

{% macro spark__quarter_start(expression) -%}
    timestamp_seconds(floor(unix_timestamp({{ expression }}) / 900) * 900)
{%- endmacro %}
